from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import ConfigError, TableError
from lungdet.pipeline.confusion import COLUMNS, ROWS, book_confusion
from lungdet.pipeline.detections import detection_table


def detections(*rows: tuple[str, float, float, float]) -> pd.DataFrame:
    """Rows of (series, x, probability, malignancy) on a line y = z = 0."""
    tables = [
        detection_table(
            uid, np.array([[x, 0.0, 0.0]]), {"logit": [0.0], "probability": [p], "malignancy_probability": [m]}
        )
        for uid, x, p, m in rows
    ]
    empty = detection_table("", np.empty((0, 3)), {"logit": np.empty(0)})
    return pd.concat(tables, ignore_index=True) if tables else empty


def nodules(*rows: tuple[str, float, float, bool]) -> pd.DataFrame:
    """Rows of (series, x, diameter, is_malignant)."""
    table = pd.DataFrame(rows, columns=["series_uid", "center_x_mm", "diameter_mm", "is_malignant"])
    return table.assign(center_y_mm=0.0, center_z_mm=0.0)


NAN = float("nan")


def test_every_cell_by_hand() -> None:
    """Counted by hand.

    Series a: a benign nodule (10 mm at 0) with a detection at 6.9 mm (0.69 diameters, hit) that is filtered out and one
    at 2 mm predicted benign: the higher counts. A malignant one (10 mm at 100) hit by a detection predicted malignant.
    A malignant one (10 mm at 200) whose only neighbour lies at exactly 7 mm: missed, and the neighbour, filtered out,
    is a non-nodule. Series b: a benign nodule at 0 without detections: missed; series a's detection at 0 is not its.
    Series c, without annotations: one non-nodule predicted benign, one predicted malignant.
    """
    found = detections(
        ("a", 6.9, 0.3, 0.9),
        ("a", 2.0, 0.6, 0.4),
        ("a", 101.0, 0.9, 0.5),
        ("a", 207.0, 0.1, 0.9),
        ("c", 0.0, 0.5, 0.1),
        ("c", 50.0, 0.8, 0.8),
    )
    truth = nodules(
        ("a", 0.0, 10.0, False), ("a", 100.0, 10.0, True), ("a", 200.0, 10.0, True), ("b", 0.0, 10.0, False)
    )
    table = book_confusion(found, truth)
    assert list(table.index) == list(ROWS)
    assert list(table.columns) == list(COLUMNS)
    assert table.to_numpy().tolist() == [[0, 1, 1, 1], [1, 0, 1, 0], [1, 0, 0, 1]]


def test_both_thresholds_are_respected() -> None:
    found = detections(("a", 0.0, 0.6, 0.6))
    truth = nodules(("a", 0.0, 10.0, True))
    assert book_confusion(found, truth).loc["malignant", "predicted malignant"] == 1
    # The book compares malignancy with the nodule threshold; here only the malignancy threshold moves it.
    assert book_confusion(found, truth, malignancy_threshold=0.7).loc["malignant", "predicted benign"] == 1
    assert book_confusion(found, truth, nodule_threshold=0.2, malignancy_threshold=0.7).loc[
        "malignant", "predicted benign"
    ]
    assert book_confusion(found, truth, nodule_threshold=0.7).loc["malignant", "filtered out"] == 1


def test_one_detection_may_hit_two_nodules_and_no_malignancy_means_benign() -> None:
    found = detections(("a", 5.0, 0.9, NAN))
    truth = nodules(("a", 0.0, 10.0, True), ("a", 10.0, 10.0, False))
    assert book_confusion(found, truth).to_numpy().tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]


def test_no_detections_and_no_annotations() -> None:
    truth = nodules(("a", 0.0, 10.0, True))
    assert book_confusion(detections(), truth).to_numpy().tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    found = detections(("a", 0.0, 0.6, 0.6))
    assert book_confusion(found, truth.iloc[:0]).to_numpy().sum() == 1


def test_bad_arguments_are_refused() -> None:
    truth = nodules(("a", 0.0, 10.0, True))
    with pytest.raises(ConfigError, match=r"malignancy_threshold=1.5 must lie in \[0, 1\]"):
        book_confusion(detections(), truth, malignancy_threshold=1.5)
    with pytest.raises(TableError, match="annotations without is_malignant; read them with read_malignancy"):
        book_confusion(detections(), truth.drop(columns="is_malignant"))
