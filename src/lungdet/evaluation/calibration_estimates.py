"""How well probabilities are calibrated on one partition, each number with its patient-bootstrap interval."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.predictions import sigmoid
from lungdet.evaluation.results import Calibration
from lungdet.metrics.calibration import (
    Binning,
    ReliabilityCurve,
    brier_score,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)
from lungdet.metrics.logistic import fit_line, fit_shift

FloatArray = npt.NDArray[np.float64]

# Logits within one of this many cells of equal content (cells of the positives and of all rows) count as their mean in
# the resamples of slope and intercept: exact where there are fewer distinct logits, and 1e-3 of an interval elsewhere.
_CELLS = 200


def estimate_calibration(
    logit: npt.NDArray[np.floating], label: npt.NDArray[np.integer], draws: PatientDraws
) -> Calibration:
    """All measures of one partition.

    Point values come from every row. Under a resample, sums over the rows of each patient are weighted: exact for
    Brier score and log loss; for the ECE with the bins of the full table held fixed, and shifted so that the resamples
    are centred on the value, because noise can only add to an absolute gap; for slope and intercept on logits that are
    cut into some hundred cells. Whatever calibrator made the logits is held fixed.

    Args:
        logit: [N], finite, on the scale that is judged.
        label: {0, 1} [N].
        draws: patients of these rows.
    """
    z: FloatArray = np.asarray(logit, dtype=np.float64)
    probability = sigmoid(z)
    prevalence = float(label.mean()) if label.size else math.nan
    curve = reliability_curve(probability, label)
    bins = pd.DataFrame(curve._asdict())
    losses: FloatArray = np.logaddexp(0.0, z) - label * z
    slope, intercept = _recalibration(z, label, draws)
    return Calibration(
        ece=_ece(probability, label, draws, binning="width"),
        ece_equal_mass=_ece(probability, label, draws, binning="mass"),
        brier=_mean(brier_score(probability, label), (probability - label) ** 2, draws),
        negative_log_likelihood=_mean(negative_log_likelihood(z, label), losses, draws),
        slope=slope,
        intercept=intercept,
        brier_of_prevalence=prevalence * (1 - prevalence),
        mean_probability=float(probability.mean()) if probability.size else math.nan,
        bins=bins.loc[bins["n_rows"] > 0].reset_index(drop=True),
    )


def _mean(value: float, per_row: FloatArray, draws: PatientDraws) -> Estimate:
    if not per_row.size:
        return Estimate(math.nan, reason="no rows")
    totals = np.bincount(draws.patient, weights=per_row, minlength=draws.n_patients)
    rows = np.bincount(draws.patient, minlength=draws.n_patients)
    return draws.estimate(value, (draws.weights @ totals) / (draws.weights @ rows))


def _ece(probability: FloatArray, label: npt.NDArray[np.integer], draws: PatientDraws, *, binning: Binning) -> Estimate:
    if not probability.size:
        return Estimate(math.nan, reason="no rows")
    value = expected_calibration_error(probability, label, binning=binning)
    curve: ReliabilityCurve = reliability_curve(probability, label, binning=binning)
    place = np.searchsorted(curve.lower[1:], probability, side="left")
    gaps = draws.weights @ _by_patient(place, len(curve.lower), draws, weights=probability - label)
    rows = draws.weights @ np.bincount(draws.patient, minlength=draws.n_patients)
    samples = np.abs(gaps).sum(axis=1) / rows
    return draws.estimate(value, np.clip(samples - samples.mean() + value, 0.0, 1.0) if samples.size else samples)


def _recalibration(logit: FloatArray, label: npt.NDArray[np.integer], draws: PatientDraws) -> tuple[Estimate, Estimate]:
    reason = _one_class(label)
    if reason:
        return Estimate(math.nan, reason=reason), Estimate(math.nan, reason=reason)
    cell = _cells(logit, label == 1)
    n_cells = int(cell.max()) + 1
    center = np.bincount(cell, weights=logit, minlength=n_cells) / np.bincount(cell, minlength=n_cells)
    positives = draws.weights @ _by_patient(cell, n_cells, draws, weights=label.astype(np.float64))
    rows = draws.weights @ _by_patient(cell, n_cells, draws, weights=np.ones(len(cell)))
    # Rounded, so that what is 0 by construction is not printed as a negative 0.
    in_the_large = round(calibration_intercept(logit, label), 9) + 0.0
    intercept = draws.estimate(in_the_large, fit_shift(center, positives, rows))
    slope = calibration_slope(logit, label)
    if math.isnan(slope):
        alike = logit.min() == logit.max()
        return Estimate(slope, reason="all logits are equal" if alike else "the classes do not overlap"), intercept
    return draws.estimate(slope, fit_line(center, positives, rows)[0]), intercept


def _cells(logit: FloatArray, positive: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The cell of each row, numbered from 0 without gaps."""
    values, place = np.unique(logit, return_inverse=True)
    if len(values) > 2 * _CELLS:
        shares = np.arange(1, _CELLS) / _CELLS
        cuts = np.concatenate([np.quantile(logit, shares), np.quantile(logit[positive], shares)])
        place = np.searchsorted(np.unique(cuts), logit, side="left")
    _, numbered = np.unique(place, return_inverse=True)
    return numbered.astype(np.int64)


def _by_patient(
    place: npt.NDArray[np.integer], n_places: int, draws: PatientDraws, *, weights: FloatArray
) -> FloatArray:
    """Sums float64 [P, n_places] over the rows of each patient at each place."""
    flat = draws.patient * n_places + place
    sums = np.bincount(flat, weights=weights, minlength=draws.n_patients * n_places)
    return sums.astype(np.float64).reshape(-1, n_places)


def _one_class(label: npt.NDArray[np.integer]) -> str:
    positives = int(label.sum())
    if not label.size:
        return "no rows"
    if not positives:
        return "no positives"
    return "no negatives" if positives == label.size else ""
