from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sk

from lungdet.errors import ShapeError, TableError
from lungdet.metrics.overlap import (
    average_precision_bounds,
    average_precision_from_histogram,
    overlap_from_counts,
)


def test_equals_scikit_learn_on_two_masks() -> None:
    generator = np.random.default_rng(0)
    drawn, predicted = generator.random(500) < 0.2, generator.random(500) < 0.3
    tp, fp, fn = (int((a & b).sum()) for a, b in ((drawn, predicted), (~drawn, predicted), (drawn, ~predicted)))
    f1 = sk.f1_score(drawn, predicted)
    expected = {
        "dice": f1,
        "precision": sk.precision_score(drawn, predicted),
        "recall": sk.recall_score(drawn, predicted),
        "f1": f1,
    }
    assert overlap_from_counts(tp, fp, fn) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tp", "fp", "fn", "dice", "precision", "recall"),
    [(0, 0, 0, math.nan, math.nan, math.nan), (0, 2, 0, 0, 0, math.nan), (0, 0, 3, 0, math.nan, 0), (5, 0, 0, 1, 1, 1)],
)
def test_what_has_no_data_is_nan(tp: int, fp: int, fn: int, dice: float, precision: float, recall: float) -> None:
    expected = {"dice": dice, "precision": precision, "recall": recall, "f1": dice}
    assert overlap_from_counts(tp, fp, fn) == pytest.approx(expected, nan_ok=True)


def histogram(label: np.ndarray, bins: np.ndarray, n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    return np.bincount(bins[label], minlength=n_bins), np.bincount(bins[~label], minlength=n_bins)


@pytest.mark.parametrize("n_bins", [2, 7, 64, 2048])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_the_bins_and_its_bounds_hold_for_the_scores(n_bins: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    label = generator.random(3000) < (0.001, 0.02, 0.3, 0.9)[seed]
    label[0] = True
    score = np.clip(generator.normal(0.4, 0.15, 3000) + 0.2 * label, 0, 1)
    bins = np.minimum((score * n_bins).astype(np.int64), n_bins - 1)
    positives, negatives = histogram(label, bins, n_bins)
    ours = average_precision_from_histogram(positives, negatives)
    assert ours == pytest.approx(sk.average_precision_score(label, bins))
    low, high = average_precision_bounds(positives, negatives)
    exact = sk.average_precision_score(label, score)
    assert low - 1e-12 <= exact <= high + 1e-12
    assert low - 1e-12 <= ours <= high + 1e-12
    if n_bins == 2048 and seed > 0:
        assert high - low < 0.03
        assert ours == pytest.approx(exact, abs=0.002)


def test_bounds_by_hand() -> None:
    """Upper bin: 1 positive, 1 negative; lower bin: 2 positives, no negative.

    Negatives first, positives apart: precisions 1/2, 2/3, 3/4, mean 23/36. Positives first and tied: 1, 3/4, 3/4,
    mean 5/6. As bins: 1/2, 3/4, 3/4, mean 2/3. The lower bound takes the integral: 1 - ln 2, 2 - ln 2.
    """
    positives, negatives = [2, 1], [0, 1]
    assert average_precision_from_histogram(positives, negatives) == pytest.approx(2 / 3)
    low, high = average_precision_bounds(positives, negatives)
    assert high == pytest.approx(5 / 6)
    assert low == pytest.approx((3 - 2 * math.log(2)) / 3)
    assert low <= 23 / 36


def test_a_perfect_order_has_tight_bounds_and_no_positives_have_no_number() -> None:
    assert average_precision_bounds([0, 0, 5], [7, 3, 0]) == (1, 1)
    assert average_precision_from_histogram([0, 0, 5], [7, 3, 0]) == 1
    assert math.isnan(average_precision_from_histogram([0, 0], [3, 4]))
    assert all(math.isnan(bound) for bound in average_precision_bounds([0, 0], [3, 4]))


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(TableError, match="must be >= 0, got tp=1, fp=-1, fn=0"):
        overlap_from_counts(1, -1, 0)
    with pytest.raises(TableError, match="negative counts"):
        average_precision_from_histogram([1, -1], [0, 0])
    with pytest.raises(ShapeError, match=r"equally long vectors, got \(2,\) and \(3,\)"):
        average_precision_bounds([1, 1], [0, 0, 0])
