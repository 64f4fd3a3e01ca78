"""Hand-counted pairs, a brute-force reference over all pairs, and the corners."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lungdet.errors import ConfigError, ShapeError, TableError
from lungdet.io.lidc import malignancy_labels
from lungdet.io.luna16_tables import read_malignancy
from lungdet.metrics.ranking import auroc
from lungdet.metrics.size_matched import SizeMatchedPairs

Table = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]


def drawn(seed: int, *, n: int = 80, n_patients: int = 9) -> Table:
    """Label, size (malignant ones larger, many repeated), score (with ties) and patient of each row."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    size: npt.NDArray[np.float64] = np.exp(rng.normal(2.0, 0.4, n) + 0.4 * label).round(1)
    score: npt.NDArray[np.float64] = (rng.normal(size=n) + label + np.log(size)).round(1)
    return label, size, score, rng.integers(0, n_patients, n)


def brute_force(table: Table, tolerance: float, weight: npt.NDArray[np.float64]) -> float:
    label, size, score, patient = table
    won = total = 0.0
    for i, j in itertools.product(np.flatnonzero(label == 1), np.flatnonzero(label == 0)):
        if max(size[i], size[j]) <= min(size[i], size[j]) * (1 + tolerance):
            w = weight[patient[i]] * weight[patient[j]]
            won += w * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
            total += w
    return won / total if total else math.nan


def test_hand_counted() -> None:
    """10 % pairs 10 mm with 9.5 and 11 (not 9.0, 11.1), 20 mm with 21: three pairs; won, tied, lost."""
    label = [1, 1, 0, 0, 0, 0, 0]
    size = [10.0, 20.0, 9.5, 11.0, 9.0, 11.1, 21.0]
    score = [1.0, 0.0, 0.5, 1.0, 9.0, 9.0, 0.1]
    pairs = SizeMatchedPairs(label, size, tolerance=0.1)
    assert list(zip(pairs.positive.tolist(), pairs.negative.tolist(), strict=True)) == [(0, 2), (0, 3), (1, 6)]
    assert pairs.auroc(score) == 0.5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tolerance", [0.02, 0.1, 0.5])
def test_equals_brute_force_with_and_without_weights(seed: int, tolerance: float) -> None:
    table = drawn(seed)
    label, size, score, patient = table
    pairs = SizeMatchedPairs(label, size, tolerance=tolerance)
    assert pairs.auroc(score) == pytest.approx(brute_force(table, tolerance, np.ones(9)), abs=1e-12)
    weights = np.random.default_rng(seed).integers(0, 3, (20, 9)).astype(np.float64)
    found = pairs.under_patient_weights(score, patient, weights=weights)
    np.testing.assert_allclose(found, [brute_force(table, tolerance, w) for w in weights], atol=1e-12)


def test_a_wide_tolerance_is_the_plain_auroc() -> None:
    label, size, score, patient = drawn(5)
    pairs = SizeMatchedPairs(label, size, tolerance=1e6)
    assert len(pairs) == (label == 1).sum() * (label == 0).sum()
    assert pairs.auroc(score) == pytest.approx(auroc(label, score), abs=1e-12)
    weight = np.arange(9.0)
    assert pairs.under_patient_weights(score, patient, weights=weight[None])[0] == pytest.approx(
        auroc(label, score, weight[patient]), abs=1e-12
    )


def test_size_itself_is_near_one_half_where_it_ranks_well_over_all_pairs() -> None:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 4000)
    size = np.exp(rng.normal(2.0, 0.4, 4000) + 0.6 * label)
    assert auroc(label, size) > 0.8
    assert 0.5 < SizeMatchedPairs(label, size, tolerance=0.1).auroc(size) < 0.55
    assert 0.5 < SizeMatchedPairs(label, size, tolerance=0.02).auroc(size) < 0.52


@pytest.mark.realdata
def test_what_is_left_of_the_diameter_on_luna16(realdata: Path) -> None:
    """The AUROC over all pairs is the one that is known of this label rule."""
    table = read_malignancy(realdata / "luna16" / "annotations_with_malignancy.csv")
    label = malignancy_labels(table["ratings"].tolist(), "two_readers_4").astype(int)
    size = table["diameter_mm"].to_numpy()
    assert auroc(label, size) == pytest.approx(0.919, abs=5e-4)
    pairs = SizeMatchedPairs(label, size, tolerance=0.1)
    assert len(pairs) == 16_249
    assert pairs.auroc(size) == pytest.approx(0.563, abs=5e-4)


@pytest.mark.parametrize("size", [[5.0, 6.0], [5.0, math.nan], [math.nan, math.nan]])
def test_without_pairs_there_is_no_number(size: list[float]) -> None:
    pairs = SizeMatchedPairs([1, 0], size, tolerance=0.1)
    assert len(pairs) == 0
    assert math.isnan(pairs.auroc([1.0, 0.0]))
    samples = pairs.under_patient_weights([1.0, 0.0], np.array([0, 1]), weights=np.ones((3, 2)))
    assert np.isnan(samples).all()


def test_a_resample_that_drew_no_pair_is_nan() -> None:
    pairs = SizeMatchedPairs([1, 0], [5.0, 5.0], tolerance=0.1)
    weights = np.array([[1.0, 1.0], [2.0, 0.0]])
    found = pairs.under_patient_weights([1.0, 0.0], np.array([0, 1]), weights=weights)
    assert found[0] == 1.0
    assert math.isnan(found[1])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"number > 0 .*got 0"):
        SizeMatchedPairs([1, 0], [5.0, 5.0], tolerance=0.0)
    with pytest.raises(ShapeError, match="equally long"):
        SizeMatchedPairs([1, 0], [5.0], tolerance=0.1)
    with pytest.raises(TableError, match="row 1 has 2"):
        SizeMatchedPairs([1, 2], [5.0, 5.0], tolerance=0.1)
    with pytest.raises(TableError, match=r"row 0 has -1\.0"):
        SizeMatchedPairs([1, 0], [-1.0, 5.0], tolerance=0.1)
    pairs = SizeMatchedPairs([1, 0], [5.0, 5.0], tolerance=0.1)
    with pytest.raises(ShapeError, match="made from 2 rows"):
        pairs.auroc([1.0])
    with pytest.raises(TableError, match="NaN in row 1"):
        pairs.auroc([1.0, math.nan])
