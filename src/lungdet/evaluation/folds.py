"""The folds of a cross-validation side by side: each with its own network, threshold and calibrator."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungdet.evaluation.calibration import RunCalibration
from lungdet.evaluation.curves import why_no_area
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.predictions import sigmoid
from lungdet.evaluation.results import FoldResult, Folds, Spread
from lungdet.evaluation.thresholds import RECALLS, choose_thresholds
from lungdet.metrics.ranking import auroc, average_precision, under_patient_weights

_AREAS = {"auroc": auroc, "average_precision": average_precision}


def compare_folds(
    table: pd.DataFrame,
    *,
    partition: str,
    calibration: RunCalibration | None,
    recall: float = RECALLS[0],
    n_resamples: int,
    seed: int,
) -> Folds | None:
    """The results of each fold on its own rows.

    Args:
        table: a canonical table of predictions, of one or several folds.
        partition: whose rows are judged.
        calibration: of all folds; None leaves the Brier score to the raw probabilities.
        recall: what the threshold of each fold aims at.
        n_resamples: of the patient bootstrap within each fold.
        seed: of the resampling.

    Returns:
        None where there is one fold only. A threshold is chosen on the validation rows of its own fold: a patient who
        is tested in one fold validates in another, and must have no say in the threshold that judges the test.
    """
    names = sorted(int(fold) for fold in table["fold"].unique())
    if len(names) < 2:
        return None
    judged = calibration if calibration is not None and not calibration.missing else None
    folds = tuple(
        _fold(
            table[table["fold"] == name],
            name,
            partition=partition,
            calibration=judged,
            recall=recall,
            n_resamples=n_resamples,
            seed=seed,
        )
        for name in names
    )
    spread = {key: _spread([getattr(fold, key).value for fold in folds]) for key in FoldResult.ESTIMATES}
    return Folds(partition=partition, is_calibrated=judged is not None, folds=folds, spread=spread)


def _fold(
    rows: pd.DataFrame,
    name: int,
    *,
    partition: str,
    calibration: RunCalibration | None,
    recall: float,
    n_resamples: int,
    seed: int,
) -> FoldResult:
    val, here = rows[rows["partition"] == "val"], rows[rows["partition"] == partition]
    draws = PatientDraws(here["patient_id"], n_resamples=n_resamples, seed=seed)
    label, logit = here["label"].to_numpy(), here["logit"].to_numpy(dtype=np.float64)
    *_, threshold = choose_thresholds(val["label"], val["logit"], recalls=[recall]).values()
    return FoldResult(
        fold=name,
        patients=here["patient_id"].nunique(),
        candidates=len(here),
        positives=int(label.sum()),
        **_areas(here, draws),
        brier=_brier(label, logit if calibration is None else calibration.logits(here), draws),
        threshold_logit=threshold.logit,
        sensitivity=Estimate(math.nan, reason=threshold.reason)
        if math.isnan(threshold.logit)
        else draws.ratio((logit >= threshold.logit) & (label == 1), label == 1, reason="no positives"),
    )


def _areas(here: pd.DataFrame, draws: PatientDraws) -> Mapping[str, Estimate]:
    reason = why_no_area(here)
    if reason:
        return {name: Estimate(math.nan, reason=reason) for name in _AREAS}
    label, logit = here["label"].to_numpy(), here["logit"].to_numpy()
    samples = under_patient_weights(label, logit, draws.patient, weights=draws.weights).samples
    return {name: draws.area(area(label, logit), samples[name], label=label) for name, area in _AREAS.items()}


def _brier(label: np.ndarray, logit: np.ndarray, draws: PatientDraws) -> Estimate:
    squares = (sigmoid(logit) - label) ** 2
    return draws.ratio(squares, np.ones_like(squares), reason="no rows")


def _spread(values: list[float]) -> Spread:
    """Mean and standard deviation (of a sample, n - 1) over the folds that have the number."""
    known = np.asarray([value for value in values if math.isfinite(value)])
    mean = float(known.mean()) if known.size else math.nan
    return Spread(mean, float(known.std(ddof=1)) if known.size > 1 else math.nan, int(known.size))
