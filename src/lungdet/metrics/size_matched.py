"""AUROC over pairs of nodules of the same size: what is left of a score once the diameter cannot help."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import sparse

from lungdet.errors import ConfigError, ShapeError, TableError

FloatVector = npt.NDArray[np.float64]

# The bounds of a search are widened by this much and the pairs found compared exactly: rounding must not lose one.
_SLACK = 1e-9


class SizeMatchedPairs:
    """All (positive, negative) pairs whose sizes differ by at most a share of the smaller one.

    A pair belongs when `larger <= smaller * (1 + tolerance)`. Every pair counts once, whatever else its two members are
    paired with. Made once for several scores, so that their difference is one over the same pairs.

    Args:
        label: {0, 1} [N].
        size: float [N] > 0, e.g. diameters in mm; a row whose size is NaN is in no pair.
        tolerance: > 0; 0.1 pairs 10 mm with 9.1 to 11 mm.

    Attributes:
        positive, negative: int64 [M], the rows of each pair, ordered by positive, then by size of the negative.

    Raises:
        ShapeError: label and size are not equally long vectors.
        TableError: a label other than 0 and 1, a size that is not positive; names the row.
        ConfigError: a tolerance that is not a positive number.
    """

    def __init__(self, label: npt.ArrayLike, size: npt.ArrayLike, *, tolerance: float) -> None:
        labels, sizes = np.asarray(label), np.asarray(size, dtype=np.float64)
        _check(labels, sizes, tolerance)
        positives = np.flatnonzero((labels == 1) & np.isfinite(sizes))
        negatives = np.flatnonzero((labels == 0) & np.isfinite(sizes))
        negatives = negatives[np.argsort(sizes[negatives], kind="stable")]
        reach = (1 + tolerance) * (1 + _SLACK)
        first = np.searchsorted(sizes[negatives], sizes[positives] / reach, side="left")
        after = np.searchsorted(sizes[negatives], sizes[positives] * reach, side="right")
        n_partners = after - first
        one = np.repeat(positives, n_partners)
        # The partners of a positive are consecutive: first, first + 1, ... after - 1.
        step = np.arange(len(one)) - np.repeat(np.cumsum(n_partners) - n_partners, n_partners)
        other = negatives[np.repeat(first, n_partners) + step]
        smaller, larger = np.minimum(sizes[one], sizes[other]), np.maximum(sizes[one], sizes[other])
        matched = larger <= smaller * (1 + tolerance)
        self.positive: npt.NDArray[np.int64] = one[matched].astype(np.int64)
        self.negative: npt.NDArray[np.int64] = other[matched].astype(np.int64)
        self.n_rows = len(labels)

    def __len__(self) -> int:
        """M, the number of pairs."""
        return len(self.positive)

    def auroc(self, score: npt.ArrayLike) -> float:
        """Share of the pairs in which the positive scores higher, ties counting half; NaN without pairs.

        Args:
            score: float [N], any monotone scale.

        Raises:
            ShapeError: another number of rows.
            TableError: a NaN score; names the row.
        """
        won = self._won(score)
        return float(won.mean()) if len(won) else math.nan

    def under_patient_weights(
        self, score: npt.ArrayLike, patient: npt.NDArray[np.integer], *, weights: npt.NDArray[np.float64]
    ) -> FloatVector:
        """The same when patients count several times or never: a pair counts as the product of its two patients.

        The pairs are added up by patient and patient once; a resample then is a product of matrices.

        Args:
            score: float [N].
            patient: int [N], column of `weights` that each row belongs to.
            weights: float64 [R, P], how often each patient counts in each resample.

        Returns:
            float64 [R]; NaN where no pair has weight.

        Raises:
            ShapeError: another number of rows.
            TableError: a NaN score; names the row.
        """
        cells = (patient[self.positive], patient[self.negative])
        shape = (weights.shape[1], weights.shape[1])
        won = sparse.coo_array((self._won(score), cells), shape=shape).tocsr()
        pairs = sparse.coo_array((np.ones(len(self)), cells), shape=shape).tocsr()
        with np.errstate(invalid="ignore"):
            shares: FloatVector = _quadratic(weights, won) / _quadratic(weights, pairs)
        return shares

    def _won(self, score: npt.ArrayLike) -> FloatVector:
        scores = np.asarray(score, dtype=np.float64)
        if scores.shape != (self.n_rows,):
            raise ShapeError(f"score has shape {scores.shape}, the pairs were made from {self.n_rows} rows")
        if np.isnan(scores).any():
            raise TableError(f"score is NaN in row {int(np.flatnonzero(np.isnan(scores))[0])}: the model diverged?")
        one, other = scores[self.positive], scores[self.negative]
        won: FloatVector = (one > other) + (one == other) / 2
        return won


def _quadratic(weights: npt.NDArray[np.float64], cells: sparse.csr_array) -> FloatVector:
    """For every row w of `weights` the number w' C w: float64 [R]."""
    sums: FloatVector = ((weights @ cells) * weights).sum(axis=1)
    return sums


def _check(labels: npt.NDArray[np.generic], sizes: FloatVector, tolerance: float) -> None:
    if not (math.isfinite(tolerance) and tolerance > 0):
        raise ConfigError([f"size tolerance must be a number > 0 (0.1 for 10 %), got {tolerance}"])
    if labels.ndim != 1 or labels.shape != sizes.shape:
        raise ShapeError(f"label and size must be equally long vectors, got shapes {labels.shape} and {sizes.shape}")
    strange = ~np.isin(labels, (0, 1))
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        raise TableError(f"label must be 0 or 1, row {row} has {labels[row]}")
    wrong = ~(np.isnan(sizes) | ((sizes > 0) & np.isfinite(sizes)))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise TableError(f"size must be positive (NaN where it is not known), row {row} has {sizes[row]}")
