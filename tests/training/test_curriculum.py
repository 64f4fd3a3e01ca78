"""Difficulty of training negatives: the baseline's own ranking of training rows, given to rules that ask for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from lungdet.data.curriculum import CurriculumSampling
from lungdet.data.sampling import BalancedSampling
from lungdet.errors import ConfigError
from lungdet.geometry import Geometry
from lungdet.training.curriculum import baseline_difficulty, prepare_curriculum

N = 40


class BallStore:
    """The crop of a row shows a ball whose radius in voxels is its x."""

    def geometry(self, uid: str) -> Geometry:
        return Geometry((50, 50, 50), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))

    def crops(self, uids: list[str], centers: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        grid = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) // 2
        distance = np.sqrt((grid**2).sum(axis=0))
        return np.stack([np.where(distance <= x, 40, -900).astype(np.int16) for x in centers[:, 0]])


def drawn_data(target: str = "class", **changed: Any) -> Any:
    """Nodules are balls of 4 to 8 voxels, others of 1 to 5: the larger a negative, the harder."""
    generator = np.random.default_rng(3)
    label = np.tile([0, 1], N // 2)
    records = pd.DataFrame(
        {
            "series_uid": "a",
            "center_x_mm": np.where(label == 1, generator.uniform(4, 8, N), generator.uniform(1, 5, N)),
            "center_y_mm": 0.0,
            "center_z_mm": 0.0,
            "label": label.astype(np.int8),
            "diameter_mm": np.where(label == 1, 8.0, np.nan),
            "partition": np.repeat(["train", "val", "test"], [N - 10, 5, 5]),
        }
    )
    settings = {
        "records": records,
        "store": BallStore(),
        "seed": 0,
        "sampling": CurriculumSampling(),
        "spec": SimpleNamespace(target=target),
        "samples": SimpleNamespace(),
        "measure_difficulty": None,
    }
    return SimpleNamespace(**(settings | changed))


def test_larger_negatives_are_harder_and_rows_that_do_not_train_have_none() -> None:
    data = drawn_data()
    difficulty = baseline_difficulty(data)
    train = (data.records["partition"] == "train").to_numpy()
    assert difficulty.dtype == np.float32
    assert (np.isfinite(difficulty) == train).all()
    negatives = data.records[train & (data.records["label"] == 0).to_numpy()]
    # Balls of radii between two distances of the grid are the same ball, so ranks tie; none may be turned round.
    by_size = difficulty[negatives.sort_values("center_x_mm").index]
    assert (np.diff(by_size) >= 0).all()
    assert by_size[-1] > by_size[0] + 1


def test_held_out_rows_do_not_move_it() -> None:
    data = drawn_data()
    before = baseline_difficulty(data)
    held_out = data.records["partition"] != "train"
    data.records.loc[held_out, "label"] = 1 - data.records.loc[held_out, "label"]
    data.records.loc[held_out, "center_x_mm"] = 2.0
    assert np.array_equal(baseline_difficulty(data), before, equal_nan=True)


def test_nodules_that_all_have_a_diameter_are_ranked_by_it() -> None:
    data = drawn_data()
    diameter = np.random.default_rng(0).uniform(3, 20, N)
    data.records["diameter_mm"] = diameter
    train = np.flatnonzero(data.records["partition"] == "train")
    label = data.records["label"].to_numpy()[train]
    scaled = (diameter[train] - diameter[train].mean()) / diameter[train].std()
    expected = LogisticRegression().fit(scaled[:, None], label).decision_function(scaled[:, None])
    assert baseline_difficulty(data)[train] == pytest.approx(expected, abs=1e-4)


def test_it_is_given_to_rules_that_ask_for_it_only() -> None:
    data = drawn_data()
    prepare_curriculum(data)
    assert data.measure_difficulty is baseline_difficulty
    other = drawn_data(sampling=BalancedSampling())
    prepare_curriculum(other)
    assert other.measure_difficulty is None


def test_samples_with_masks_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"CurriculumSampling ranks candidates or nodules.*type data/sampling=balanced"
    ):
        prepare_curriculum(drawn_data(target="mask"))
    prepare_curriculum(drawn_data(target="mask", sampling=BalancedSampling()))
