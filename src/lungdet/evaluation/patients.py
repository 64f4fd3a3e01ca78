"""The patient-level answer against the truth: does the scan hold a nodule, does it hold a malignant one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.metrics.ranking import auroc, under_patient_weights

# Question -> column of the patients table that answers it, and what the annotations must hold.
QUESTIONS = {"nodule": "nodule_probability", "malignancy": "malignancy_probability"}


def evaluate_patients(
    patients: pd.DataFrame, annotations: pd.DataFrame, *, n_resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """AUROC of the scan scores, with bootstrap intervals over scans.

    Args:
        patients: series_uid, nodule_probability, malignancy_probability; one row a searched scan, NaN where it could
            not be judged.
        annotations: series_uid of each nodule, and is_malignant where it is known.
        n_resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Question -> n_scans (judged), n_positive, n_unjudged, auroc, low, high (None where undefined) and reason.
    """
    truth = {"nodule": set(annotations["series_uid"])}
    if "is_malignant" in annotations:
        truth["malignancy"] = set(annotations.loc[annotations["is_malignant"], "series_uid"])
    answers = {}
    for question, positive in truth.items():
        score = patients[QUESTIONS[question]].to_numpy(np.float64)
        judged = np.isfinite(score)
        label = patients["series_uid"].isin(positive).to_numpy()[judged].astype(np.int8)
        estimate = _area(label, score[judged], n_resamples=n_resamples, seed=seed)
        answers[question] = {
            "n_scans": int(judged.sum()),
            "n_positive": int(label.sum()),
            "n_unjudged": int((~judged).sum()),
            "auroc": _or_none(estimate.value),
            "low": _or_none(estimate.low),
            "high": _or_none(estimate.high),
            "reason": estimate.reason,
        }
    return answers


def describe_answer(answer: dict[str, Any]) -> str:
    """One line for people: `0.91 (0.75 to 1.00)`, or why there is no number."""
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
