"""The patient-level answer against the truth: does the scan hold a nodule, does it hold a malignant one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.metrics.ranking import auroc, under_patient_weights

# Question -> column of the patients table that answers it.
QUESTIONS = {"nodule": "nodule_probability", "malignancy": "malignancy_probability"}


def evaluate_patients(
    patients: pd.DataFrame, annotations: pd.DataFrame, *, n_resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """AUROC of the scan scores, with bootstrap intervals over scans.

    A scan is malignant when one of its nodules is; without such a one, but with a nodule that nobody rated, its truth
    is unknown and it does not count.

    Args:
        patients: series_uid, nodule_probability, malignancy_probability; one row a searched scan, NaN where it could
            not be judged.
        annotations: series_uid of each nodule, and is_malignant (True, False, None for unknown) where it is known.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Question -> n_scans (judged, of known truth), n_positive, n_unjudged, n_unknown, auroc, low, high (None where
        undefined) and reason. `malignancy` only with is_malignant.
    """
    truth = {"nodule": (set(annotations["series_uid"]), set[str]())}
    if "is_malignant" in annotations:
        uid, malignant = annotations["series_uid"], annotations["is_malignant"]
        positive = set(uid[malignant.map(lambda known: known is not None and bool(known))])
        truth["malignancy"] = (positive, set(uid[malignant.isna()]) - positive)
    answers = {}
    for question, (positive, unknown) in truth.items():
        score = patients[QUESTIONS[question]].to_numpy(np.float64)
        is_judged = np.isfinite(score)
        is_known = ~patients["series_uid"].isin(unknown).to_numpy()
        counts = is_judged & is_known
        label = patients["series_uid"].isin(positive).to_numpy()[counts].astype(np.int8)
        estimate = _area(label, score[counts], n_resamples=n_resamples, seed=seed)
        answers[question] = {
            "n_scans": int(counts.sum()),
            "n_positive": int(label.sum()),
            "n_unjudged": int((~is_judged).sum()),
            "n_unknown": int((is_judged & ~is_known).sum()),
            "auroc": _or_none(estimate.value),
            "low": _or_none(estimate.low),
            "high": _or_none(estimate.high),
            "reason": estimate.reason,
        }
    return answers


def describe_answer(answer: dict[str, Any]) -> str:
    """One line for people: `0.910 (0.750 to 1.000), 3 of 9 scans positive`, or why there is no number."""
    if answer["auroc"] is None:
        return f"undefined ({answer['reason']})"
    interval = "" if answer["low"] is None else f" ({answer['low']:.3f} to {answer['high']:.3f})"
    return f"{answer['auroc']:.3f}{interval}, {answer['n_positive']} of {answer['n_scans']} scans positive"


def _area(label: np.ndarray, score: np.ndarray, *, n_resamples: int, seed: int) -> Estimate:
    if not label.size or label.min() == label.max():
        missing = "no scan was judged" if not label.size else f"all {label.size} scans have label {int(label[0])}"
        return Estimate(math.nan, reason=missing)
    draws = PatientDraws(np.arange(label.size), n_resamples=n_resamples, seed=seed)
    resampled = under_patient_weights(label, score, draws.patient, weights=draws.weights, metrics=["auroc"])
    return draws.area(auroc(label, score), resampled.samples["auroc"], label=label)


def _or_none(value: float) -> float | None:
    return round(value, 12) if math.isfinite(value) else None
