"""Predictions of a classifier of candidates, nodules or images -> every number of its report. No model, and no pixels
but those handed in.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import TableError
from lungdet.evaluation.audit import audit_partitions
from lungdet.evaluation.audit_results import Choice
from lungdet.evaluation.calibration import RunCalibration
from lungdet.evaluation.calibration_estimates import estimate_calibration
from lungdet.evaluation.curves import ranking_curves, score_histogram, why_no_area
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.findings import find
from lungdet.evaluation.folds import compare_folds
from lungdet.evaluation.gallery import build_galleries
from lungdet.evaluation.history import by_epoch
from lungdet.evaluation.predictions import PARTITIONS, check_predictions
from lungdet.evaluation.results import (
    ClassificationReport,
    Comparison,
    Counts,
    OperatingPoint,
    Ranking,
)
from lungdet.evaluation.roc_points import roc_point
from lungdet.evaluation.shown import PictureLoader
from lungdet.evaluation.sizes import SIZE_TOLERANCE, by_size, size_matched
from lungdet.evaluation.thresholds import RECALLS, Threshold, choose_thresholds, recall_names
from lungdet.evaluation.wording import CANDIDATES, Wording
from lungdet.metrics.ranking import auroc, average_precision, under_patient_weights

logger = logging.getLogger(__name__)

_AREAS = {"auroc": auroc, "average_precision": average_precision}


def evaluate_classification(
    predictions: pd.DataFrame,
    *,
    title: str,
    provenance: Mapping[str, Any],
    wording: Wording = CANDIDATES,
    calibration: RunCalibration | None = None,
    baselines: Mapping[str, pd.DataFrame] | None = None,
    load_pictures: PictureLoader | None = None,
    no_pictures_because: str = "no pixels were handed to the evaluation",
    history: pd.DataFrame | None = None,
    leak_audit: Mapping[str, Any] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    recalls: Sequence[float] = RECALLS,
    n_gallery: int = 6,
    size_tolerance: float = SIZE_TOLERANCE,
) -> ClassificationReport:
    """Compute everything a classification report shows.

    Results are those of the test partition (of validation when there are no test rows, and the report says so);
    thresholds are chosen on validation. The same table gives the same numbers, whatever the order of its rows.

    Args:
        predictions: see `check_predictions`.
        title: headline of the report.
        provenance: what to show about the origin: run, split hash, store fingerprint, git commit, versions, ...
        wording: what rows and classes are called, and the rule behind the labels.
        calibration: of this table, see `fit_calibration`; None reports raw probabilities only.
        baselines: name -> predictions of simpler methods on the same rows.
        load_pictures: row of the table -> its pictures for the galleries.
        no_pictures_because: what the report says when `load_pictures` is None.
        history: per-epoch metrics of the training: column epoch and `train/loss`, `val/loss`, `val/auroc`, ...; several
            rows per epoch (as Lightning's CSV logger writes them) are merged.
        leak_audit: what the run recorded about its partitions, see `audit_partitions`.
        n_resamples: patient-bootstrap resamples behind each interval.
        seed: of the resampling.
        recalls: what operating points aim at; the headline quotes the first.
        n_gallery: candidates per gallery, see `build_galleries`.
        size_tolerance: which pairs count as of one size, see `SizeMatchedPairs`.

    Raises:
        TableError: no rows at all, a table that `check_predictions` refuses, or a baseline on other rows.
        ConfigError: recalls that `recall_names` refuses.
    """
    aims = recall_names(recalls)
    table = check_predictions(predictions)
    if table.empty:
        raise TableError("the predictions table has no rows: was the run's predict step skipped?")
    parts = {name: table[table["partition"] == name].reset_index(drop=True) for name in PARTITIONS}
    partition = "test" if len(parts["test"]) else "val"
    here = parts[partition]
    draws = {name: PatientDraws(part["patient_id"], n_resamples=n_resamples, seed=seed) for name, part in parts.items()}
    if "model" in (baselines or {}):
        raise TableError("a baseline cannot be called 'model', the name of what is evaluated; give it another")
    logger.info("evaluating %d %s, %d resamples", len(table), wording.items, n_resamples)

    samples = {name: _resampled_areas(part, draws[name]) for name, part in parts.items()}
    thresholds = choose_thresholds(parts["val"]["label"], parts["val"]["logit"], recalls=recalls)
    points = {name: _operating_point(threshold, parts, draws, calibration) for name, threshold in thresholds.items()}
    headline = next(name for name in (next(iter(aims)), "half") if partition in points[name].on)
    compared = {
        name: _matching(check_predictions(baseline, source=f"baseline '{name}'"), table, name)
        for name, baseline in (baselines or {}).items()
    }
    others = {name: other[other["partition"] == partition].reset_index(drop=True) for name, other in compared.items()}

    report = ClassificationReport(
        title=title,
        provenance=dict(provenance),
        wording=wording,
        partition=partition,
        n_resamples=n_resamples,
        seed=seed,
        recalls=aims,
        headline=headline,
        counts={name: _counts(part) for name, part in parts.items()},
        audit=audit_partitions(
            table,
            record=leak_audit,
            provenance=provenance,
            thresholds=Choice("Thresholds", "val", f"largest F1, Youden's J, recall of {_listed(aims)}")
            if len(parts["val"])
            else None,
            calibration=None if calibration is None or calibration.missing else calibration.to_dict(),
            words=wording.audit,
        ),
        ranking={name: _ranking(part, draws[name], samples[name]) for name, part in parts.items()},
        operating_points=points,
        roc_points={name: roc_point(here, draws[partition], aim=aim)[0] for name, aim in aims.items()},
        calibration={
            name: estimate_calibration(part["logit"].to_numpy(), part["label"].to_numpy(), draws[name])
            for name, part in parts.items()
        },
        calibrated={
            name: estimate_calibration(calibration.logits(part), part["label"].to_numpy(), draws[name])
            for name, part in parts.items()
            if calibration is not None and not calibration.missing
        },
        calibrator=calibration,
        folds=compare_folds(
            table,
            partition=partition,
            calibration=calibration,
            recall=next(iter(aims.values())),
            n_resamples=n_resamples,
            seed=seed,
        ),
        by_size=() if wording.are_images else by_size(here, draws[partition], points, wording=wording),
        size_matched=size_matched(here, others, draws[partition], tolerance=size_tolerance),
        baselines=tuple(
            _comparison(name, other, here, draws[partition], samples[partition]) for name, other in others.items()
        ),
        findings=(),
        galleries=build_galleries(
            here,
            threshold_logit=points[headline].threshold.logit,
            n=n_gallery,
            load_pictures=load_pictures,
            wording=wording,
        ),
        pictures_left_out="" if load_pictures is not None else no_pictures_because,
        curves=ranking_curves({"model": table, **compared}),
        histogram=score_histogram(here),
        history=None if history is None else by_epoch(history),
    )
    return dataclasses.replace(report, findings=find(report))


def _listed(recalls: Mapping[str, float]) -> str:
    every = [f"{recall:g}" for recall in recalls.values()]
    return f"{', '.join(every[:-1])} and {every[-1]}" if len(every) > 1 else every[0]


def _counts(part: pd.DataFrame) -> Counts:
    positives = int(part["label"].sum())
    return Counts(
        patients=part["patient_id"].nunique(),
        series=part["series_uid"].nunique(),
        candidates=len(part),
        positives=positives,
        prevalence=positives / len(part) if len(part) else math.nan,
    )


def _resampled_areas(part: pd.DataFrame, draws: PatientDraws) -> Mapping[str, npt.NDArray[np.float64]]:
    return under_patient_weights(part["label"], part["logit"], draws.patient, weights=draws.weights).samples


def _ranking(part: pd.DataFrame, draws: PatientDraws, samples: Mapping[str, npt.NDArray[np.float64]]) -> Ranking:
    reason = why_no_area(part)
    estimates = {
        name: Estimate(math.nan, reason=reason)
        if reason
        else draws.area(area(part["label"], part["logit"]), samples[name], label=part["label"].to_numpy())
        for name, area in _AREAS.items()
    }
    return Ranking(**estimates)


def _operating_point(
    threshold: Threshold,
    parts: Mapping[str, pd.DataFrame],
    draws: Mapping[str, PatientDraws],
    calibration: RunCalibration | None,
) -> OperatingPoint:
    if math.isnan(threshold.logit):
        return OperatingPoint(threshold, {})
    on = {
        name: draws[name].at_threshold(
            part["label"].to_numpy(),
            part["logit"].to_numpy(),
            threshold=threshold,
            n_series=part["series_uid"].nunique(),
        )
        for name, part in parts.items()
        if len(part)
    }
    calibrator = None if calibration is None else calibration.single
    calibrated = math.nan if calibrator is None else float(calibrator.probability([threshold.logit])[0])
    return OperatingPoint(threshold, on, calibrated)


def _matching(baseline: pd.DataFrame, table: pd.DataFrame, name: str) -> pd.DataFrame:
    key = ["partition", "fold", "series_uid", "candidate_id", "label"]
    if not baseline[key].equals(table[key]):
        both = baseline[key].merge(table[key])
        raise TableError(
            f"baseline '{name}' must hold the same rows and labels as the model: it has {len(baseline)} rows, "
            f"the model {len(table)}, {len(both)} are in both. Predict with both on the same split"
        )
    return baseline


def _comparison(
    name: str,
    other: pd.DataFrame,
    here: pd.DataFrame,
    draws: PatientDraws,
    samples: Mapping[str, npt.NDArray[np.float64]],
) -> Comparison:
    other_samples = _resampled_areas(other, draws)
    reason = why_no_area(here)
    differences = {
        area: Estimate(math.nan, reason=reason)
        if reason
        else draws.area(
            compute(here["label"], here["logit"]) - compute(other["label"], other["logit"]),
            samples[area] - other_samples[area],
            label=here["label"].to_numpy(),
        )
        for area, compute in _AREAS.items()
    }
    return Comparison(
        name, _ranking(other, draws, other_samples), differences["auroc"], differences["average_precision"]
    )
