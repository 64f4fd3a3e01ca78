"""Numbers with their patient-bootstrap interval, and the resampling of patients that all of one partition share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.thresholds import Confusion, Threshold

_TAILS = (0.025, 0.975)
_DRAWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; what cannot be computed is NaN and `reason` says why."""

    value: float
    low: float = math.nan
    high: float = math.nan
    reason: str = ""

    @property
    def width(self) -> float:
        """Width of the interval; NaN without one."""
        return self.high - self.low


@dataclass(frozen=True)
class PointEstimates:
    """What one threshold does on one partition.

    Attributes:
        confusion: the counts.
        recall, precision, specificity, f1: with intervals.
        fp_per_series: false positives per CT series that has candidates.
    """

    confusion: Confusion
    recall: Estimate
    precision: Estimate
    specificity: Estimate
    f1: Estimate
    fp_per_series: float


class PatientDraws:
    """Patients drawn with replacement, once for all statistics of a partition, so that differences are paired.

    Args:
        patient_id: [N], the patient of each row.
        n_resamples: how many bootstrap resamples.
        seed: the draws depend on it and on the number of patients only.

    Attributes:
        patient: int64 [N], patients numbered in the order of their names.
        n_patients: P.
        weights: float64 [n_resamples, P], how often each patient was drawn.
    """

    def __init__(self, patient_id: npt.ArrayLike, *, n_resamples: int, seed: int) -> None:
        codes, names = pd.factorize(np.asarray(patient_id, dtype=object), sort=True)
        self.patient: npt.NDArray[np.int64] = codes.astype(np.int64)
        self.n_patients = len(names)
        self.weights: npt.NDArray[np.float64] = np.empty((n_resamples, self.n_patients))
        rng = np.random.default_rng(seed)
        # A few resamples at once: all draws and their places would take four times the memory of the weights, 350 MB
        # where 44,000 images are a patient each.
        for some in np.array_split(self.weights, max(1, self.weights.size // _DRAWS_AT_ONCE)):
            drawn = rng.integers(0, max(1, self.n_patients), size=some.shape)
            places = np.arange(len(some))[:, None] * self.n_patients + drawn
            some[...] = np.bincount(places.ravel(), minlength=some.size).reshape(some.shape)

    def ratio(self, part: npt.NDArray[Any], whole: npt.NDArray[Any], *, reason: str) -> Estimate:
        """The ratio of two sums over rows, with its interval.

        Where every resample gives the same ratio (all called, or none), percentiles would claim certainty; the interval
        is then Wilson's, over the rows of the denominator.

        Args:
            part: [N], what is added up in the numerator: 0/1 or counts.
            whole: [N], the same for the denominator.
            reason: what to say when the denominator is empty.

        Reference:
            Wilson (1927), J. Am. Stat. Assoc. 22:209-212, doi:10.1080/01621459.1927.10502953.
        """
        tops = np.bincount(self.patient, weights=part, minlength=self.n_patients)
        bottoms = np.bincount(self.patient, weights=whole, minlength=self.n_patients)
        if bottoms.sum() == 0:
            return Estimate(math.nan, reason=reason)
        with np.errstate(invalid="ignore"):
            samples = (self.weights @ tops) / (self.weights @ bottoms)
        return self.share(float(tops.sum() / bottoms.sum()), samples, n=int(np.count_nonzero(whole)))

    def share(self, value: float, samples: npt.NDArray[np.float64], *, n: int) -> Estimate:
        """Percentile interval of a share of `n` rows; Wilson's where every resample gives the same."""
        if np.all((samples == value) | np.isnan(samples)):
            return Estimate(value, *_wilson(value, n))
        return self.estimate(value, samples)

    def area(self, value: float, samples: npt.NDArray[np.float64], *, label: npt.NDArray[np.integer]) -> Estimate:
        """Interval of an AUROC or average precision; there is none when one patient has all the positives."""
        if len(np.unique(self.patient[label == 1])) < 2:
            return Estimate(value, reason="positives in one patient only")
        return self.estimate(value, samples)

    def estimate(self, value: float, samples: npt.NDArray[np.float64]) -> Estimate:
        """Percentile interval of a statistic from its resampled values; NaN among them are left out."""
        finite = samples[np.isfinite(samples)]
        if self.n_patients < 2:
            return Estimate(value, reason="a single patient cannot be resampled")
        if not finite.size:
            return Estimate(value, reason="no resample has the data")
        low, high = np.quantile(finite, _TAILS)
        return Estimate(value, float(low), float(high))

    def at_threshold(
        self, label: npt.NDArray[np.integer], logit: npt.NDArray[np.floating], *, threshold: Threshold, n_series: int
    ) -> PointEstimates:
        """Counts and ratios at one threshold, with intervals."""
        positive = label == 1
        called = logit.astype(np.float64) >= threshold.logit
        tp, fp = called & positive, called & ~positive
        fn, tn = ~called & positive, ~called & ~positive
        counted = Confusion(*(int(np.count_nonzero(x)) for x in (tp, fp, fn, tn)))
        return PointEstimates(
            counted,
            recall=self.ratio(tp, positive, reason="no positives"),
            precision=self.ratio(tp, called, reason="nothing is called"),
            specificity=self.ratio(tn, ~positive, reason="no negatives"),
            f1=self.ratio(2 * tp.astype(float), 2 * tp.astype(float) + fp + fn, reason="no positives, none called"),
            fp_per_series=counted.fp / n_series if n_series else math.nan,
        )


def _wilson(share: float, n: int) -> tuple[float, float]:
    z = 1.959963984540054  # 97.5th percentile of the normal distribution
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
