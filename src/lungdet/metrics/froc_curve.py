"""The FROC curve itself: corners of the ROC of detected nodules and false positives, rescaled to scans and nodules."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

FP_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which the competition metric (CPM) averages the sensitivity."""


class FrocCurve(NamedTuple):
    """Corners of a FROC curve, from the highest threshold to the lowest; the first is (0, 0) at infinity.

    `fps` float64 [P], false positives per scan; `sensitivity` float64 [P], NaN where there are no nodules;
    `threshold` float64 [P]: marks with a score of at least this count.
    """

    fps: FloatArray
    sensitivity: FloatArray
    threshold: FloatArray

    def sensitivity_at(self, fp_per_scan: npt.ArrayLike) -> FloatArray:
        """Sensitivity by linear interpolation between corners; beyond the last corner, that of the last.

        Args:
            fp_per_scan: false positives per scan, any shape.
        """
        return np.asarray(np.interp(np.asarray(fp_per_scan, dtype=np.float64), self.fps, self.sensitivity))

    @property
    def cpm(self) -> float:
        """Competition performance metric: mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 FP per scan."""
        return float(np.mean(self.sensitivity_at(FP_RATES)))


def froc_curve(nodule_score: FloatArray, false_score: FloatArray, *, n_series: int) -> FrocCurve:
    """The official curve.

    Args:
        nodule_score: float64 [N], the score of every nodule; NaN when missed: then it has no row in the ROC and stays
            in the denominator.
        false_score: float64 [F], the score of every false positive.
        n_series: scans, with or without marks.

    Returns:
        The corners that scikit-learn's `roc_curve` keeps by default. Nothing detected is sensitivity 0 (the official
        script: NaN, and without any mark it stops); no nodules at all is NaN.
    """
    detected = nodule_score[~np.isnan(nodule_score)]
    score = np.concatenate([detected, false_score])
    is_nodule = np.zeros(len(score))
    is_nodule[: len(detected)] = 1.0
    order = np.argsort(-score)  # the order of equal scores does not matter
    score = score[order]
    tie_end = tie_ends(score)
    tp = np.cumsum(is_nodule[order])[tie_end]
    fp = 1.0 + tie_end - tp
    corner = is_corner(fp, tp)
    fp, tp, threshold = fp[corner], tp[corner], score[tie_end[corner]]
    return FrocCurve(
        to_fps(np.concatenate([[0.0], fp]), n_false=len(false_score), n_series=n_series),
        to_sensitivity(np.concatenate([[0.0], tp]), n_detected=len(detected), n_nodules=len(nodule_score)),
        np.concatenate([[np.inf], threshold]),
    )


def tie_ends(falling: FloatArray) -> IndexArray:
    """Place of the last of each run of equal values, int64."""
    is_end = np.ones(len(falling), dtype=np.bool_)
    np.not_equal(falling[1:], falling[:-1], out=is_end[:-1])
    return np.flatnonzero(is_end)


def is_corner(fp: FloatArray, tp: FloatArray) -> BoolArray:
    """Points that `roc_curve(drop_intermediate=True)` keeps: the ends, and where a second difference is not 0."""
    keep = np.ones(len(fp), dtype=np.bool_)
    if len(fp) > 2:
        keep[1:-1] = (np.diff(fp, 2) != 0) | (np.diff(tp, 2) != 0)
    return keep


# The order of the operations in the next two is the official one: fp/n*n/s is at times one unit in the last place off
# fp/s, and there np.interp takes the other end of a vertical step.


def to_fps(fp: FloatArray, *, n_false: float, n_series: int) -> FloatArray:
    """False positives per scan from cumulated false positives; zero everywhere when there are none."""
    return fp / n_false * n_false / n_series if n_false else np.zeros_like(fp)


def to_sensitivity(tp: FloatArray, *, n_detected: float, n_nodules: float) -> FloatArray:
    """Sensitivity from cumulated true positives; NaN without nodules, 0 with nothing detected."""
    if not n_nodules:
        return np.full_like(tp, np.nan)
    return tp / n_detected * n_detected / n_nodules if n_detected else np.zeros_like(tp)
