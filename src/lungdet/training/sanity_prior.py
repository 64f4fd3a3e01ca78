"""`lungdet sanity what=class_prior`: the baseline that knows how frequent the classes are and looks at nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import LungdetError
from lungdet.evaluation.curves import why_no_area
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.predictions import sigmoid
from lungdet.evaluation.sanity_checks import SanityCheck, SanityNumber, SanityTable, not_judged, patient_draws
from lungdet.metrics.calibrators import fit_calibrator
from lungdet.metrics.ranking import auroc, average_precision, under_patient_weights

NAME = "class_prior"
QUESTION = "Does the run know more than how frequent the classes are?"

# Probabilities of exactly 0 or 1 (isotonic, fp32) would cost an infinite logarithm for one wrong row.
_SURE = 1e-7

FloatVector = npt.NDArray[np.float64]


def check_class_prior(predictions: pd.DataFrame, *, prior: float, n_resamples: int, seed: int) -> SanityCheck:
    """Compare the run with a constant probability, the share of positives among the training rows.

    Sampling changes how frequent classes look to a network, so its probabilities are put right first: a logistic
    regression on the logit (Platt), fitted on the validation rows. The run passes where the interval of one of its
    gains (Brier score, log loss, average precision; patients resampled, paired) lies above 0, and fails where it gains
    nothing.

    Args:
        predictions: of both partitions.
        prior: share of positives among the training rows, in (0, 1).
        n_resamples: of the patient bootstrap.
        seed: of it.
    """
    test, val = (predictions[predictions["partition"] == name] for name in ("test", "val"))
    reason = why_no_area(test)
    if reason:
        return not_judged(NAME, QUESTION, f"The test partition has {reason}.")
    if not 0 < prior < 1:
        return not_judged(NAME, QUESTION, f"All training rows have one class: the prior is {prior:g}.")
    label, logit = test["label"].to_numpy(np.int64), test["logit"].to_numpy(np.float64)
    draws = patient_draws(test, n_resamples=n_resamples, seed=seed)
    raw = sigmoid(logit)
    calibrated, cautions = _calibrated(val, logit)
    constant = np.full(len(label), prior)
    gains = _gains(label, logit, constant=constant, probability=calibrated, draws=draws)
    rows = [
        ("class prior", *_scores(label, constant)),
        ("run, as it is", *_scores(label, raw)),
        ("run, calibrated on validation", *_scores(label, calibrated)),
    ]
    better = [name for name, gain in gains.items() if gain.low > 0]
    gained = [name for name, gain in gains.items() if gain.value > 0]
    if better:
        verdict, says = "passed", f"The run beats the class prior by {' and '.join(better)}."
    elif not gained:
        verdict, says = "failed", "The run is no better than the class prior by any of the three."
    else:
        verdict = "cannot be judged"
        says = f"The run is better by {' and '.join(gained)}, but every interval holds 0: these patients do not tell."
    if _scores(label, raw)[2] > _scores(label, constant)[2]:
        cautions.append("As it is, the run has a worse Brier score than the prior: use calibrated probabilities.")
    if _scores(label, calibrated)[4] <= _scores(label, constant)[4]:
        cautions.append(
            f"Always the same answer is right for {100 * max(1 - label.mean(), label.mean()):.1f} % of the rows, and "
            "the run at 0.5 does no better: accuracy says nothing here."
        )
    return SanityCheck(
        NAME,
        QUESTION,
        verdict,  # type: ignore[arg-type]
        says,
        (
            SanityNumber("Share of positives, training", Estimate(prior), "the constant probability"),
            *(
                SanityNumber(f"Gain in {name}", gain, "over the prior; above 0 is better")
                for name, gain in gains.items()
            ),
        ),
        tuple(cautions),
        (
            SanityTable(
                f"Test rows ({len(label):,}, {int(label.sum()):,} positives).",
                ("", "AUROC", "Average precision", "Brier score", "Log loss", "Accuracy at 0.5"),
                tuple(rows),
            ),
        ),
    )


def log_loss(probability: FloatVector, label: npt.NDArray[np.integer]) -> FloatVector:
    """Negative log likelihood of each row, in nats: float64 [N]."""
    p = np.clip(probability, _SURE, 1 - _SURE)
    loss: FloatVector = -np.where(label == 1, np.log(p), np.log1p(-p))
    return loss


def _calibrated(val: pd.DataFrame, logit: FloatVector) -> tuple[FloatVector, list[str]]:
    """Probabilities of these logits after Platt scaling on the validation rows; uncalibrated where that cannot be."""
    try:
        fitted = fit_calibrator("platt", val["logit"].to_numpy(np.float64), val["label"].to_numpy())
    except LungdetError as error:
        return sigmoid(logit), [f"Not calibrated: {error}"]
    return np.asarray(fitted.probability(logit), np.float64), []


def _gains(
    label: npt.NDArray[np.int64],
    logit: FloatVector,
    *,
    constant: FloatVector,
    probability: FloatVector,
    draws: PatientDraws,
) -> dict[str, Estimate]:
    rows = {
        "Brier score": (constant - label) ** 2 - (probability - label) ** 2,
        "log loss": log_loss(constant, label) - log_loss(probability, label),
    }
    n_rows = _per_patient(np.ones(len(label)), draws)
    gains = {}
    for name, gain in rows.items():
        samples = (draws.weights @ _per_patient(gain, draws)) / (draws.weights @ n_rows)
        gains[name] = draws.estimate(float(gain.mean()), samples)
    prevalence = (draws.weights @ _per_patient(label.astype(np.float64), draws)) / (draws.weights @ n_rows)
    resampled = under_patient_weights(
        label, logit, draws.patient, weights=draws.weights, metrics=["average_precision"]
    ).samples["average_precision"]
    value = average_precision(label, logit) - float(label.mean())
    gains["average precision"] = draws.area(value, resampled - prevalence, label=label)
    return gains


def _per_patient(values: FloatVector, draws: PatientDraws) -> FloatVector:
    sums: FloatVector = np.bincount(draws.patient, weights=values, minlength=draws.n_patients).astype(np.float64)
    return sums


def _scores(label: npt.NDArray[np.int64], probability: FloatVector) -> tuple[float, float, float, float, float]:
    """AUROC, average precision, Brier score, log loss, accuracy at 0.5."""
    brier = float(np.mean((probability - label) ** 2))
    accuracy = float(np.mean((probability >= 0.5) == (label == 1)))
    nll = float(log_loss(probability, label).mean())
    return auroc(label, probability), average_precision(label, probability), brier, nll, accuracy
