"""The baseline is fitted on training candidates only, scores the others, and takes all positives of a large table."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lungdet.geometry import Geometry
from lungdet.tasks.intensity_size_baseline import fit_baseline
from lungdet.training import baseline
from lungdet.training.baseline import DIAMETER_ALONE, MEAN_HU_AND_SIZE, baseline_logits, baseline_name


class DrawnStore:
    """Crops of balls in air: radius 4 voxels and bright for odd x, radius 1 and faint for even x."""

    def geometry(self, uid: str) -> Geometry:
        return Geometry((50, 50, 50), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0) if uid == "a" else (2.0, 2.0, 2.0))

    def crops(self, uids: list[str], centers: npt.NDArray[np.float64], shape: tuple[int, ...]) -> npt.NDArray[np.int16]:
        assert set(uids) in ({"a"}, {"b"}), "scan by scan"
        grid = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) // 2
        distance = np.sqrt((grid**2).sum(axis=0))
        odd = centers[:, 0].astype(int) % 2 == 1
        hu = np.full((len(uids), *shape), -900, np.int16)
        for n, is_big in enumerate(odd):
            hu[n][distance <= (4 if is_big else 1)] = 40 if is_big else -500
        return hu


class DrawnData:
    def __init__(self) -> None:
        n = 60
        x = np.arange(n, dtype=float)
        self.store = DrawnStore()
        self.records = pd.DataFrame(
            {
                "series_uid": np.where(x % 3 == 0, "a", "b"),
                "center_x_mm": x,
                "center_y_mm": 0.0,
                "center_z_mm": 0.0,
                "label": (x % 2 == 1).astype("int8"),
                "diameter_mm": np.where(x % 2 == 1, 8.0, np.nan),
                "partition": np.where(x < 30, "train", np.where(x < 45, "val", "test")),
            }
        )


def test_it_scores_validation_and_test_and_leaves_training_out() -> None:
    data: Any = DrawnData()
    logits = baseline_logits(data, seed=0)
    assert logits.dtype == np.float32
    assert logits[data.records["partition"] == "train"].isna().all()
    scored = data.records["partition"] != "train"
    positive = data.records["label"] == 1
    assert logits[scored & positive].min() > logits[scored & ~positive].max()


def test_it_does_not_see_the_labels_it_scores() -> None:
    data: Any = DrawnData()
    before = baseline_logits(data, seed=0)
    scored = data.records["partition"] != "train"
    data.records.loc[scored, "label"] = 1 - data.records.loc[scored, "label"]
    pd.testing.assert_series_equal(baseline_logits(data, seed=0), before)


def test_a_large_table_keeps_its_positives(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[npt.NDArray[Any]] = []

    def noted(features: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Any:
        fitted.append(labels)
        return fit_baseline(features, labels)

    monkeypatch.setattr(baseline, "fit_baseline", noted)
    monkeypatch.setattr(baseline, "MAX_TRAIN_NEGATIVES", 4)
    data: Any = DrawnData()
    first = baseline_logits(data, seed=3)
    assert sorted(fitted[0].tolist()) == [0] * 4 + [1] * 15
    pd.testing.assert_series_equal(baseline_logits(data, seed=3), first)


def test_nothing_to_score_is_nothing() -> None:
    data: Any = DrawnData()
    data.records["partition"] = "train"
    assert baseline_logits(data, seed=0).isna().all()


def test_candidates_and_nodules_have_baselines_of_their_own() -> None:
    data: Any = DrawnData()
    assert baseline_name(data.records) == MEAN_HU_AND_SIZE
    data.records["diameter_mm"] = 5.0
    assert baseline_name(data.records) == DIAMETER_ALONE


def test_where_all_diameters_are_known_they_alone_rank_and_no_voxel_is_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data: Any = DrawnData()
    data.store = None
    rng = np.random.default_rng(0)
    diameter = rng.uniform(4, 12, len(data.records)) + 3 * data.records["label"]
    data.records["diameter_mm"] = diameter
    with caplog.at_level("INFO"):
        logits = baseline_logits(data, seed=0)
    assert "baseline (diameter alone) fitted on 30 rows" in caplog.text
    scored = data.records["partition"] != "train"
    assert logits[scored].argsort().tolist() == diameter[scored].argsort().tolist()
    probability = 1 / (1 + np.exp(-logits[scored]))
    assert abs(probability.mean() - 0.5) < 0.1, "half of the training rows are positive"
