"""From the detections of a scan to one number for the patient."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import ConfigError

PatientRule = Literal["maximum", "noisy_or"]


def patient_score(probabilities: npt.ArrayLike, *, rule: PatientRule = "maximum") -> float:
    """Probability that at least one finding of a scan is real.

    `maximum` takes the most suspicious finding, as the seed book does; it does not grow with the number of findings.
    `noisy_or` takes findings as independent, 1 - prod(1 - p): many weak findings add up, so it needs calibrated
    probabilities and few false candidates.

    Reference for noisy-or: Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988, chapter 4.

    Args:
        probabilities: float [N], each in [0, 1].
        rule: how many numbers become one.

    Returns:
        0 for a scan without findings: it was looked at and nothing was there.

    Raises:
        ConfigError: another rule, or values outside [0, 1] or NaN.

    Example:
        >>> patient_score([0.5, 0.5]), patient_score([0.5, 0.5], rule="noisy_or"), patient_score([])
        (0.5, 0.75, 0.0)
    """
    if rule not in get_args(PatientRule):
        raise ConfigError([f"patient rule {rule!r}: allowed are {', '.join(get_args(PatientRule))}"])
    values = np.asarray(probabilities, dtype=np.float64)
    if not np.all((values >= 0) & (values <= 1)):
        raise ConfigError([f"patient score: probabilities must lie in [0, 1], got {values.min()} to {values.max()}"])
    if values.size == 0:
        return 0.0
    if rule == "maximum":
        return float(values.max())
    # log1p keeps a probability of 1e-9 from vanishing beside 1.
    with np.errstate(divide="ignore"):
        return float(-np.expm1(np.log1p(-values).sum()))


def judge_patient(
    table: pd.DataFrame, *, rule: PatientRule, nodule_threshold: float, with_malignancy: bool
) -> dict[str, Any]:
    """Patient-level answer from a table of detections.

    Malignancy is judged over the findings that pass as nodules, because the malignancy network has only seen nodules:
    what it says of a vessel means nothing.

    Args:
        table: `Detections.table`.
        rule: as in `patient_score`.
        nodule_threshold: probability from which a candidate counts as a nodule.
        with_malignancy: whether a malignancy network was asked; without one the patient's malignancy is NaN.

    Returns:
        `Detections.patient`.
    """
    probability = table["probability"].to_numpy(dtype=np.float64)
    malignancy = table["malignancy_probability"].to_numpy(dtype=np.float64)
    is_nodule = probability >= nodule_threshold
    return {
        "rule": rule,
        "nodule_threshold": nodule_threshold,
        "nodule_probability": patient_score(probability, rule=rule),
        "malignancy_probability": (
            patient_score(malignancy[is_nodule], rule=rule) if with_malignancy else float("nan")
        ),
        "n_candidates": len(table),
        "n_nodules": int(is_nodule.sum()),
    }


def unjudged_patient(*, rule: PatientRule, nodule_threshold: float) -> dict[str, Any]:
    """`Detections.patient` of a scan that could not be examined: NaN, which is not 0."""
    nothing = float("nan")
    return {
        "rule": rule,
        "nodule_threshold": nodule_threshold,
        "nodule_probability": nothing,
        "malignancy_probability": nothing,
        "n_candidates": 0,
        "n_nodules": 0,
    }
