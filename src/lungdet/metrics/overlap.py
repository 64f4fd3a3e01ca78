"""How well two masks agree, from counts alone: overlap at one threshold, and average precision from a histogram.

Scores of a whole scan are tens of millions; counted into bins they add up over slices, scans and processes, and every
number here follows from the sums. What has no data is NaN, never 0.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lungdet.errors import ShapeError, TableError

OVERLAP_NAMES = ("dice", "precision", "recall", "f1")

Counts = npt.NDArray[np.int64]


def overlap_from_counts(tp: int, fp: int, fn: int) -> dict[str, float]:
    """Dice, voxel precision, recall and F1 of a mask against another.

    Dice and F1 of a binary mask are one number, 2 TP / (2 TP + FP + FN), under the names that two communities use. It
    is NaN only when both masks are empty; precision is NaN without a voxel in the prediction, recall without one in
    the reference.

    Args:
        tp: voxels in both masks.
        fp: voxels in the prediction only.
        fn: voxels in the reference only.

    Raises:
        TableError: a negative count.

    Example:
        >>> overlap_from_counts(tp=3, fp=0, fn=9)
        {'dice': 0.4, 'precision': 1.0, 'recall': 0.25, 'f1': 0.4}
    """
    if min(tp, fp, fn) < 0:
        raise TableError(f"counts must be >= 0, got tp={tp}, fp={fp}, fn={fn}")
    dice = _ratio(2 * tp, 2 * tp + fp + fn)
    return {"dice": dice, "precision": _ratio(tp, tp + fp), "recall": _ratio(tp, tp + fn), "f1": dice}


def average_precision_from_histogram(positives: npt.ArrayLike, negatives: npt.ArrayLike) -> float:
    """Average precision of scores that are known by their bin only; scores in one bin count as ties.

    This is exactly `sklearn.metrics.average_precision_score` of the bin numbers. How far that of the scores themselves
    may be away is told by `average_precision_bounds`.

    Args:
        positives: int [n_bins], how many voxels of the reference have their score in each bin, low scores first.
        negatives: int [n_bins], the same of all other voxels.

    Returns:
        Average precision; NaN without positives.

    Raises:
        ShapeError: not two vectors of one length.
        TableError: a negative count.
    """
    positive, negative = _from_the_top(positives, negatives)
    found = np.cumsum(positive)
    return _mean_over_positives(positive * _ratios(found, found + np.cumsum(negative)), positive)


def average_precision_bounds(positives: npt.ArrayLike, negatives: npt.ArrayLike) -> tuple[float, float]:
    """Between which numbers the average precision of the scores lies, whatever their order within the bins.

    Lowest when the negatives of each bin come first and no two of its positives are tied, highest when its positives
    come first and all are tied. The lowest case is a harmonic sum, replaced by an integral just below it.

    Args:
        positives: int [n_bins], as in `average_precision_from_histogram`.
        negatives: int [n_bins].

    Returns:
        (low, high), with the exact value and that of the histogram between them; NaN without positives.

    Raises:
        ShapeError: not two vectors of one length.
        TableError: a negative count.
    """
    positive, negative = _from_the_top(positives, negatives)
    found, reached = np.cumsum(positive), np.cumsum(negative)
    # The k-th positive of a bin has precision (found above + k) / (found above + k + reached), or more.
    ahead = np.maximum(found - positive + reached, 1)
    low = _mean_over_positives(positive - reached * np.log1p(positive / ahead), positive)
    return low, _mean_over_positives(positive * _ratios(found, found + reached - negative), positive)


def _from_the_top(positives: npt.ArrayLike, negatives: npt.ArrayLike) -> tuple[Counts, Counts]:
    positive, negative = np.asarray(positives, dtype=np.int64), np.asarray(negatives, dtype=np.int64)
    if positive.ndim != 1 or positive.shape != negative.shape:
        raise ShapeError(
            f"positives and negatives must be equally long vectors, got {positive.shape} and {negative.shape}"
        )
    if min(positive.min(initial=0), negative.min(initial=0)) < 0:
        raise TableError("a histogram must not hold negative counts")
    return positive[::-1], negative[::-1]


def _mean_over_positives(summed: npt.NDArray[np.float64], positive: Counts) -> float:
    return _ratio(float(summed.sum()), float(positive.sum()))


def _ratios(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    """Part by whole, 0 where both are 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
