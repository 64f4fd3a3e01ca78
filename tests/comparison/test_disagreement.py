"""The rows on which runs disagree most, by their place in each ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from tests.evaluation.conftest import synthetic_crop

from lungdet.comparison.disagreement import find_disagreements
from lungdet.errors import StoreError
from lungdet.evaluation.predictions import check_predictions
from lungdet.evaluation.shown import crop_pictures


def table(logit: list[float]) -> pd.DataFrame:
    n = len(logit)
    return check_predictions(
        pd.DataFrame(
            {
                "series_uid": "1.2",
                "patient_id": "P",
                "candidate_id": np.arange(n),
                "center_x_mm": 0.0,
                "center_y_mm": 0.0,
                "center_z_mm": 0.0,
                "label": [1, 0, 0, 1, 0],
                "diameter_mm": 6.0,
                "logit": np.array(logit, np.float32),
                "fold": 0,
                "partition": "test",
            }
        )
    )


TABLES = {"a": table([5, 4, 3, 2, 1]), "b": table([50, 10, 30, 20, 40])}


def test_by_hand() -> None:
    found = find_disagreements(TABLES, n=2)
    # Percentiles of a: 90 70 50 30 10; of b: 90 10 50 30 70.
    assert [(d.row["candidate_id"], d.spread) for d in found["negatives"]] == [(1, 60.0), (4, 60.0)]
    assert found["positives"] == ()
    assert found["negatives"][0].percentile == {"a": 70.0, "b": 10.0}
    assert found["negatives"][0].to_dict()["probability"]["b"] == TABLES["b"]["probability"].iloc[1]


def test_another_scale_of_the_scores_is_no_disagreement() -> None:
    tables = {"a": TABLES["a"], "b": TABLES["a"].assign(logit=np.exp(TABLES["a"]["logit"]))}
    assert find_disagreements(tables, n=3) == {"positives": (), "negatives": ()}


def test_pictures_or_why_there_are_none() -> None:
    def gone(row: Any) -> Any:
        raise StoreError("no store")

    assert len(find_disagreements(TABLES, n=1, load_pictures=crop_pictures(synthetic_crop))["negatives"][0].views) == 3
    assert find_disagreements(TABLES, n=1, load_pictures=gone)["negatives"][0].problem == "no store"
