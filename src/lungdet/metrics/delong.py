"""Variance of an AUROC and of the difference of two on the same rows without resampling: DeLong's method, made fast.

DeLong, DeLong, Clarke-Pearson (1988), Biometrics 44:837-845, doi:10.2307/2531595; by midranks as in Sun, Xu (2014),
IEEE Signal Processing Letters 21:1389-1393, doi:10.1109/LSP.2014.2337313; for rows that come in clusters (candidates
of one patient) Obuchowski (1997), Biometrics 53:567-578, doi:10.2307/2533958.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from lungdet.errors import ShapeError, TableError

FloatArray = npt.NDArray[np.float64]

_Z = float(ndtri(0.975))


@dataclass(frozen=True)
class AurocVariance:
    """An AUROC with its standard error and normal 95 % interval, cut to [0, 1]; NaN where there is no variance."""

    auroc: float
    standard_error: float
    low: float
    high: float


@dataclass(frozen=True)
class AurocDifference:
    """AUROC of the second score minus that of the first, on the same rows.

    Attributes:
        first, second: the two areas.
        difference: second minus first.
        standard_error: of the difference.
        low, high: normal 95 % interval.
        z: difference in standard errors.
        p: two-sided, of no difference. Two scores that rank alike have standard error 0 and p 1.
    """

    first: AurocVariance
    second: AurocVariance
    difference: float
    standard_error: float
    low: float
    high: float
    z: float
    p: float


def delong_variance(
    label: npt.ArrayLike, score: npt.ArrayLike, *, cluster: npt.ArrayLike | None = None
) -> AurocVariance:
    """The AUROC of one score and its standard error.

    Args:
        label: {0, 1} [N].
        score: float [N], any monotone scale.
        cluster: [N], what rows that are not independent share, e.g. the patient; None takes all rows as independent,
            which makes the error of candidates too small.

    Returns:
        All NaN without one of the classes; an AUROC without error when a class has one row (one cluster) only.

    Raises:
        ShapeError: vectors of different lengths.
        TableError: a label other than 0 and 1, or a NaN score.
    """
    area, covariance = _areas(label, np.asarray(score, dtype=np.float64)[None], cluster)
    return _one(area[0], covariance[0, 0])


def delong_difference(
    label: npt.ArrayLike, first: npt.ArrayLike, second: npt.ArrayLike, *, cluster: npt.ArrayLike | None = None
) -> AurocDifference:
    """Compare two scores of the same rows. Arguments, missing values and errors are those of `delong_variance`."""
    scores = [np.asarray(score, dtype=np.float64) for score in (first, second)]
    if scores[0].shape != scores[1].shape:
        raise ShapeError(f"two scores of the same rows, got shapes {scores[0].shape} and {scores[1].shape}")
    area, covariance = _areas(label, np.stack(scores), cluster)
    difference = float(area[1] - area[0])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Equal rankings cancel to within rounding; a root of that would be an error of 1e-9 and a p of anything.
    error = 0.0 if abs(variance) < 1e-15 else math.sqrt(variance) if variance > 0 else math.nan
    certain = 0.0 if abs(difference) < 1e-12 else math.copysign(math.inf, difference)
    z = certain if error == 0 else difference / error
    return AurocDifference(
        first=_one(area[0], covariance[0, 0]),
        second=_one(area[1], covariance[1, 1]),
        difference=difference,
        standard_error=error,
        low=difference - _Z * error,
        high=difference + _Z * error,
        z=z,
        p=float(2 * ndtr(-abs(z))),
    )


def _one(area: float, variance: float) -> AurocVariance:
    error = math.sqrt(variance) if variance >= 0 else math.nan
    if math.isnan(error):
        return AurocVariance(float(area), error, math.nan, math.nan)
    return AurocVariance(float(area), error, max(0.0, float(area) - _Z * error), min(1.0, float(area) + _Z * error))


def _areas(label: npt.ArrayLike, scores: FloatArray, cluster: npt.ArrayLike | None) -> tuple[FloatArray, FloatArray]:
    """AUROCs [K] of scores [K, N] and their covariance [K, K]."""
    positive = _checked(label, scores)
    k, n_positive, n_negative = len(scores), int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return np.full(k, np.nan), np.full((k, k), np.nan)
    of_positives, of_negatives = _placements(positive, scores)
    area = of_positives.mean(axis=1)
    if cluster is None:
        rows = np.arange(len(positive))
    else:
        rows = np.unique(np.asarray(cluster), return_inverse=True)[1].ravel()
        if rows.shape != positive.shape:
            raise ShapeError(f"cluster has {rows.size} rows, label has {positive.size}")
    return area, _covariance(area, of_positives, of_negatives, rows[positive], rows[~positive])


def _placements(positive: npt.NDArray[np.bool_], scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Share of the other class that each row is on the right side of: positives [K, M], negatives [K, N]."""
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    among_all = np.stack([rankdata(score) for score in scores])
    among_positives = np.stack([rankdata(score[positive]) for score in scores])
    among_negatives = np.stack([rankdata(score[~positive]) for score in scores])
    return (
        (among_all[:, positive] - among_positives) / n_negative,
        1 - (among_all[:, ~positive] - among_negatives) / n_positive,
    )


def _covariance(
    area: FloatArray,
    of_positives: FloatArray,
    of_negatives: FloatArray,
    cluster_of_positives: npt.NDArray[np.integer],
    cluster_of_negatives: npt.NDArray[np.integer],
) -> FloatArray:
    """Obuchowski's covariance of the areas; with every row a cluster of its own it is DeLong's."""
    n_clusters = 1 + max(int(cluster_of_positives.max()), int(cluster_of_negatives.max()))
    # Deviations summed within clusters; that of a cluster without rows of the class is 0 and adds nothing.
    left = _summed(of_positives - area[:, None], cluster_of_positives, n_clusters)
    right = _summed(of_negatives - area[:, None], cluster_of_negatives, n_clusters)
    with_positives = len(np.unique(cluster_of_positives))
    with_negatives = len(np.unique(cluster_of_negatives))
    both = len(np.unique(np.concatenate([cluster_of_positives, cluster_of_negatives])))
    if with_positives < 2 or with_negatives < 2:
        return np.full((len(area), len(area)), np.nan)
    n_positive, n_negative = of_positives.shape[1], of_negatives.shape[1]
    cross = left @ right.T
    covariance: FloatArray = (
        with_positives / (with_positives - 1) * (left @ left.T) / n_positive**2
        + with_negatives / (with_negatives - 1) * (right @ right.T) / n_negative**2
        + both / (both - 1) * (cross + cross.T) / (n_positive * n_negative)
    )
    return covariance


def _summed(values: FloatArray, cluster: npt.NDArray[np.integer], n_clusters: int) -> FloatArray:
    return np.stack([np.bincount(cluster, weights=row, minlength=n_clusters) for row in values])


def _checked(label: npt.ArrayLike, scores: FloatArray) -> npt.NDArray[np.bool_]:
    labels = np.asarray(label)
    if labels.ndim != 1 or scores.shape[1:] != labels.shape:
        raise ShapeError(f"label and score must be equally long vectors, got {labels.shape} and {scores.shape[1:]}")
    positive: npt.NDArray[np.bool_] = labels == 1
    if not (positive | (labels == 0)).all():
        row = int(np.flatnonzero(~(positive | (labels == 0)))[0])
        raise TableError(f"label must be 0 or 1, row {row} has {labels[row]}")
    if np.isnan(scores).any():
        raise TableError(f"score is NaN in row {int(np.argwhere(np.isnan(scores))[0, 1])}: the model diverged?")
    return positive
