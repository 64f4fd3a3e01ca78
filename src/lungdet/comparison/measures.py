"""A measure of one run together with its value in every resample, so that differences of runs can be paired."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.metrics.calibration import brier_score, expected_calibration_error

Floats = npt.NDArray[np.float64]

_N_BINS = 15


@dataclass(frozen=True)
class Measure:
    """What is compared.

    Attributes:
        key: its name in compare.json.
        title: its name for people.
        larger_is_better: which way is up.
        digits: decimals shown.
    """

    key: str
    title: str
    larger_is_better: bool = True
    digits: int = 3


@dataclass(frozen=True)
class Sampled:
    """A measure of one run.

    Attributes:
        estimate: value and interval, or why there is none.
        samples: float64 [n_resamples], the value with each resample's patients, NaN where a resample lacks the data.
    """

    estimate: Estimate
    samples: Floats

    @classmethod
    def missing(cls, reason: str, *, n_resamples: int) -> Sampled:
        """What cannot be computed, and why."""
        return cls(Estimate(math.nan, reason=reason), np.full(n_resamples, np.nan))


def sampled_ratio(draws: PatientDraws, part: npt.ArrayLike, whole: npt.ArrayLike, *, reason: str) -> Sampled:
    """The ratio of two sums over rows.

    Args:
        draws: of the patients of these rows.
        part: [N], added up in the numerator.
        whole: [N], added up in the denominator.
        reason: what to say when the denominator is empty.
    """
    top, bottom = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        samples = (draws.weights @ by_patient(draws, top)) / (draws.weights @ by_patient(draws, bottom))
    return Sampled(draws.ratio(top, bottom, reason=reason), samples)


def sampled_brier(draws: PatientDraws, probability: npt.ArrayLike, label: npt.ArrayLike) -> Sampled:
    """Mean squared distance of probability and label; see `brier_score`."""
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.float64)
    samples = (draws.weights @ by_patient(draws, (p - y) ** 2)) / (draws.weights @ by_patient(draws, np.ones_like(p)))
    return Sampled(draws.estimate(brier_score(p, y), samples), samples)


def sampled_ece(draws: PatientDraws, probability: npt.ArrayLike, label: npt.ArrayLike) -> Sampled:
    """Expected calibration error in 15 bins of equal width; see `expected_calibration_error`.

    Noise can only add to an absolute gap, so the resamples are shifted to be centred on the value, as in the reports.
    """
    p, y = np.asarray(probability, dtype=np.float64), np.asarray(label, dtype=np.float64)
    place = np.searchsorted(np.linspace(0.0, 1.0, _N_BINS + 1)[1:-1], p, side="left")
    gap = np.zeros((draws.n_patients, _N_BINS))
    np.add.at(gap, (draws.patient, place), p - y)
    rows = draws.weights @ by_patient(draws, np.ones_like(p))
    raw = np.abs(draws.weights @ gap).sum(axis=1) / rows
    value = expected_calibration_error(p, y, n_bins=_N_BINS)
    samples = np.clip(raw - raw.mean() + value, 0.0, 1.0)
    return Sampled(draws.estimate(value, samples), samples)


def by_patient(draws: PatientDraws, values: Floats) -> Floats:
    """Sums of one value per row over the rows of each patient: [N] -> [P]."""
    summed: Floats = np.bincount(draws.patient, weights=values, minlength=draws.n_patients).astype(np.float64)
    return summed
