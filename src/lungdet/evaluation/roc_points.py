"""The specificity where a partition's own ROC curve reaches a sensitivity: what papers quote, with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.curves import why_no_area
from lungdet.evaluation.estimates import Estimate, PatientDraws

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RocPoint:
    """The point of largest specificity among those that reach a sensitivity.

    The threshold is read off the rows that it is judged on, so nobody could have set it beforehand; a threshold that
    was chosen on validation is an `OperatingPoint`.

    Attributes:
        aim: the sensitivity that is reached.
        sensitivity: the one that the point has, the aim or a little more.
        specificity: with its interval; each resample of patients reads its own point off its own curve.
        logit: the threshold; NaN without a curve.
    """

    aim: float
    sensitivity: float
    specificity: Estimate
    logit: float


def roc_point(part: pd.DataFrame, draws: PatientDraws, *, aim: float) -> tuple[RocPoint, Floats]:
    """Read a point off the ROC curve of some rows, and of every resample of their patients.

    Args:
        part: label, logit.
        draws: patients of these rows.
        aim: sensitivity to reach, in (0, 1].

    Returns:
        The point, and the specificity of each resample: float64 [n_resamples], NaN where one lacks a class.
    """
    reason = why_no_area(part)
    if reason:
        return (
            RocPoint(aim, math.nan, Estimate(math.nan, reason=reason), math.nan),
            np.full(len(draws.weights), np.nan),
        )
    curve = _Curve(part["label"].to_numpy() == 1, part["logit"].to_numpy(dtype=np.float64), draws.patient)
    at, value = curve.read(np.ones(draws.n_patients), aim)
    samples = np.array([curve.read(weight, aim)[1] for weight in draws.weights])
    n_negative = len(curve.negative_patient)
    # As for areas: one patient with all the positives is in a resample or not, which says nothing about others.
    if len(np.unique(curve.positive_patient)) < 2:
        specificity = Estimate(value, reason="positives in one patient only")
    else:
        specificity = draws.share(value, samples, n=n_negative)
    logit = float(curve.positive_logit[at])
    sensitivity = float(np.mean(curve.positive_logit >= logit))
    return RocPoint(aim, sensitivity, specificity, logit), samples


class _Curve:
    """Rows sorted once, so that a resample costs one pass over the positives and over the negatives that are called."""

    def __init__(self, positive: npt.NDArray[np.bool_], logit: Floats, patient: npt.NDArray[np.int64]) -> None:
        order = np.argsort(-logit, kind="stable")
        is_positive = positive[order]
        self.positive_logit = logit[order][is_positive]
        self.positive_patient = patient[order][is_positive]
        self.negative_patient = patient[order][~is_positive]
        negative_logit = logit[order][~is_positive]
        # How many negatives are called at the logit of each positive, those of the same logit included.
        self.called = np.searchsorted(-negative_logit, -self.positive_logit, side="right")
        self.negatives_of = np.bincount(self.negative_patient, minlength=int(patient.max()) + 1)

    def read(self, weight: Floats, aim: float) -> tuple[int, float]:
        """The first positive from the top at which the aim is reached, and the specificity there.

        Args:
            weight: [P], how often each patient counts.
            aim: sensitivity to reach.
        """
        reached = np.cumsum(weight[self.positive_patient])
        n_negative = float(self.negatives_of @ weight)
        if not reached[-1] or not n_negative:
            return 0, math.nan
        # Counts, not ratios: 0.9 has no exact binary form, and 9 of 10 has to pass.
        at = int(np.argmax(reached >= aim * reached[-1] - 1e-9))
        false_calls = weight[self.negative_patient[: self.called[at]]].sum()
        return at, float(1 - false_calls / n_negative)
