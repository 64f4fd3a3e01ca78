"""Bootstrap over series as the LUNA16 evaluation does it, without concatenating or sorting anything again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError
from lungdet.metrics.froc_curve import FP_RATES, FloatArray, IndexArray, is_corner, tie_ends, to_fps, to_sensitivity

CONFIDENCE = 0.95
CURVE_FPS = np.linspace(FP_RATES[0], FP_RATES[-1], num=10000)
"""Where the resampled curves are averaged, the official grid; it misses 1/4, 1/2, 2 and 4."""

_COLUMNS_AT_ONCE = 500


class Findings(NamedTuple):
    """What matching leaves of a submission.

    `nodule_series` int64 [N], `nodule_score` float64 [N] (NaN: missed); `false_series` int64 [F], `false_score` float64
    [F]; series are numbered 0 to `n_series` - 1.
    """

    nodule_series: IndexArray
    nodule_score: FloatArray
    false_series: IndexArray
    false_score: FloatArray
    n_series: int


class Interval(NamedTuple):
    """Mean of a statistic over the resamples and the official 95 % bounds; NaN without any resample."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class FrocBootstrap:
    """What the resamples of one submission say.

    Attributes:
        n_bootstraps, seed: as asked for.
        n_undefined: resamples without any nodule; their sensitivity is NaN and they are left out of means and bounds.
        mean, lower, upper: float32 [10000], sensitivity over `CURVE_FPS`.
        sensitivity_samples: float64 [K, n_bootstraps, 7], sensitivity at `FP_RATES` in each resample, for each group of
            nodules; the first is the whole evaluation.
    """

    n_bootstraps: int
    seed: int
    n_undefined: int
    mean: npt.NDArray[np.float32]
    lower: npt.NDArray[np.float32]
    upper: npt.NDArray[np.float32]
    sensitivity_samples: FloatArray

    def cpm_samples(self, group: int = 0) -> FloatArray:
        """Competition metric of every resample, float64 [n_bootstraps]."""
        return np.asarray(self.sensitivity_samples[group].mean(axis=1))


class PairedDifference(NamedTuple):
    """Second submission minus first, over the same drawn series.

    `difference` on the whole set; `low`, `high` its 95 % interval; `share_not_better` of the resamples in which the
    second is not better than the first.
    """

    difference: float
    low: float
    high: float
    share_not_better: float


def draw_series(n_series: int, *, n_bootstraps: int, seed: int) -> Iterator[FloatArray]:
    """How often each series is drawn, float64 [n_series] for each resample.

    The draws are those of `np.random.seed(seed)` followed by one `np.random.randint(n, size=n)` a resample, on a
    generator of their own: the global state is neither used nor changed.
    """
    random = np.random.RandomState(seed)
    for _ in range(n_bootstraps):
        drawn = random.randint(n_series, size=n_series)
        yield np.bincount(drawn, minlength=n_series).astype(np.float64)


def bootstrap_froc(
    findings: Findings, groups: npt.NDArray[np.bool_], *, n_bootstraps: int = 1000, seed: int = 0
) -> FrocBootstrap:
    """Resample series with replacement and interpolate every curve.

    A nodule of a series drawn twice counts twice; the number of series and the resampled nodules (detected or missed)
    are the denominators.

    Args:
        findings: of all series.
        groups: bool [K, N], sets of nodules to evaluate on the same draws. The first gives the mean curve with its
            bounds, all give samples at `FP_RATES`.
        n_bootstraps: at least 1.
        seed: of the legacy generator, 0 <= seed < 2**32.
    """
    curves = np.empty((n_bootstraps, len(CURVE_FPS)), dtype=np.float32)
    samples = np.empty((len(groups), n_bootstraps, len(FP_RATES)))
    steps = _Steps(findings, groups)
    for b, weight in enumerate(draw_series(findings.n_series, n_bootstraps=n_bootstraps, seed=seed)):
        for k, (fps, sensitivity) in enumerate(steps.curves(weight)):
            samples[k, b] = np.interp(FP_RATES, fps, sensitivity)
            if k == 0:
                curves[b] = np.interp(CURVE_FPS, fps, sensitivity)
    defined = ~np.isnan(samples[0, :, 0])
    mean, lower, upper = _bounds(curves if defined.all() else curves[defined])
    return FrocBootstrap(n_bootstraps, seed, int(np.count_nonzero(~defined)), mean, lower, upper, samples)


def interval(samples: FloatArray) -> Interval:
    """Mean and official 95 % bounds of the defined samples: sorted[floor(.025 n)] and sorted[floor(.975 n)]."""
    values = np.sort(samples[~np.isnan(samples)])
    if not values.size:
        return Interval(math.nan, math.nan, math.nan)
    low, high = _bound_places(values.size)
    return Interval(float(values.mean()), float(values[low]), float(values[high]))


def paired_difference(
    first: FrocBootstrap, second: FrocBootstrap, *, cpm_first: float, cpm_second: float
) -> PairedDifference:
    """Compare two submissions of the same series, drawn with the same seed.

    Raises:
        ConfigError: the two were drawn differently, so that their resamples are no pairs.
    """
    a, b = first.cpm_samples(), second.cpm_samples()
    if (first.seed, a.shape) != (second.seed, b.shape):
        raise ConfigError(
            [
                f"paired bootstrap: seed {first.seed} with {a.size} resamples against seed {second.seed} with "
                f"{b.size}; draw both with the same seed and n_bootstraps"
            ]
        )
    samples = b - a
    _, low, high = interval(samples)
    defined = samples[~np.isnan(samples)]
    share = float(np.mean(defined <= 0)) if defined.size else math.nan
    return PairedDifference(cpm_second - cpm_first, low, high, share)


class _Steps:
    """Where a resampled curve can rise: at the distinct scores of detected nodules, before and after each.

    Between them lie only false positives, so the curve is level there and np.interp gives the level exactly, whichever
    of the level's points it has. So a curve of about a thousand points replaces one of ten thousand, and every
    interpolated value is the official one, bit for bit.
    """

    def __init__(self, findings: Findings, groups: npt.NDArray[np.bool_]) -> None:
        score = findings.nodule_score
        nodule = np.flatnonzero(~np.isnan(score))
        nodule = nodule[np.argsort(-score[nodule])]
        by_score = np.argsort(-findings.false_score)
        falling = -findings.false_score[by_score]
        self.n_series = findings.n_series
        self.nodule_series = findings.nodule_series[nodule]
        self.false_series = findings.false_series[by_score]
        self.member = groups[:, nodule].astype(np.float64)
        self.tie_end = tie_ends(score[nodule])
        # False positives above each distinct score, and those tied with it as well.
        self.before = np.searchsorted(falling, -score[nodule[self.tie_end]], side="left")
        self.after = np.searchsorted(falling, -score[nodule[self.tie_end]], side="right")
        self.has_ties = bool(np.any(self.after > self.before))
        # Beyond 8 FP per scan nothing is looked up. The margin is 4 standard deviations at 888 series.
        enough = 1.15 * FP_RATES[-1] * self.n_series + 50
        self.n_short = min(int(np.searchsorted(self.before, enough)) + 1, len(self.tie_end))
        # As floats, because numpy multiplies matrices of integers without BLAS.
        self.false_per_series = np.bincount(findings.false_series, minlength=self.n_series).astype(np.float64)
        self.nodules_per_series = np.stack(
            [np.bincount(findings.nodule_series[g], minlength=self.n_series).astype(np.float64) for g in groups]
        )

    def curves(self, weight: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
        """False positives per scan and sensitivity of each group, with `weight` float64 [S] of each series."""
        limit = FP_RATES[-1] * self.n_series * (1 + 1e-9)
        n_ties = self.n_short
        false = self._false(weight, n_ties)
        if n_ties < len(self.tie_end) and false[-2] <= limit:
            n_ties = len(self.tie_end)
            false = self._false(weight, n_ties)
        n_false = float(weight @ self.false_per_series)
        fps = to_fps(false, n_false=n_false, n_series=self.n_series)
        found = weight[self.nodule_series] * self.member
        n_detected = found.sum(axis=1).tolist()
        n_nodules = (self.nodules_per_series @ weight).tolist()
        cumulated = np.zeros((len(found), 1 + n_ties))
        cumulated[:, 1:] = np.cumsum(found, axis=1)[:, self.tie_end[:n_ties]]
        for k, tp in enumerate(cumulated):
            sensitivity = _twice(to_sensitivity(tp, n_detected=n_detected[k], n_nodules=n_nodules[k]))
            chosen = self._official(false, _twice(tp)) if self.has_ties else slice(None)
            yield fps[chosen], sensitivity[chosen]

    def _false(self, weight: FloatArray, n_ties: int) -> FloatArray:
        """Cumulated false positives: 0, then before and after each distinct score of a nodule: [1 + 2 n_ties]."""
        points = np.zeros(1 + 2 * n_ties)
        if n_ties:
            n_rows = self.after[n_ties - 1]
            cumulated = np.zeros(n_rows + 1)
            np.cumsum(weight[self.false_series[:n_rows]], out=cumulated[1:])
            points[1::2] = cumulated[self.before[:n_ties]]
            points[2::2] = cumulated[self.after[:n_ties]]
        return points

    @staticmethod
    def _official(false: FloatArray, true: FloatArray) -> IndexArray:
        """Points left when equal neighbours and, as roc_curve does, the middle of two equal steps are dropped.

        Only on a slope does that matter: there a dropped point changes the last bits. Slopes come from nodules tied
        with false positives. roc_curve never drops its first point, which is the second here after the origin.
        """
        moved = np.ones(len(false), dtype=np.bool_)
        moved[1:] = (np.diff(false) != 0) | (np.diff(true) != 0)
        places = np.flatnonzero(moved)
        keep = is_corner(false[places], true[places])
        keep[:2] = True
        return places[keep]


def _twice(values: FloatArray) -> FloatArray:
    """The value before and the value after each step: [1 + n] -> [1 + 2 n]."""
    points = np.empty(2 * len(values) - 1)
    points[0::2] = values
    points[1::2] = values[:-1]
    return points


def _bound_places(n: int) -> tuple[int, int]:
    tail = (1 - CONFIDENCE) / 2
    return math.floor(tail * n), math.floor((1 - tail) * n)


def _bounds(
    curves: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean, lower and upper of each column, the mean summed in float32 over the sorted column as numpy.average does.

    Each column is made a contiguous row: summing rows is numpy's pairwise sum, the same as of a single vector, while a
    sum over the first axis would add row by row and differ in the last bits.
    """
    n, width = curves.shape
    if n == 0:
        nothing = np.full(width, np.nan, dtype=np.float32)
        return nothing, nothing.copy(), nothing.copy()
    mean, lower, upper = (np.empty(width, dtype=np.float32) for _ in range(3))
    low, high = _bound_places(n)
    for start in range(0, width, _COLUMNS_AT_ONCE):
        here = slice(start, start + _COLUMNS_AT_ONCE)
        columns = np.ascontiguousarray(curves[:, here].T)
        columns.sort(axis=1)
        mean[here], lower[here], upper[here] = columns.mean(axis=1), columns[:, low], columns[:, high]
    return mean, lower, upper
