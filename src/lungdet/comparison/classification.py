"""Classifiers on the same rows: areas, calls at thresholds of their own, calibration, all paired differences."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from lungdet.comparison.cautions import cautions
from lungdet.comparison.curves import comparison_curves, froc_sensitivities
from lungdet.comparison.disagreement import find_disagreements
from lungdet.comparison.measures import Measure, Sampled, sampled_brier, sampled_ece, sampled_ratio
from lungdet.comparison.pairs import Delong, Pair, holm, judge, paired_differences
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.runs import ComparedRun
from lungdet.comparison.same_rows import check_same_rows, check_same_task, rows_of, shared_partition
from lungdet.comparison.settings import differing_origins, differing_settings
from lungdet.comparison.wording import threshold_name
from lungdet.evaluation.curves import why_no_area
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.history import by_epoch
from lungdet.evaluation.predictions import sigmoid
from lungdet.evaluation.roc_points import roc_point
from lungdet.evaluation.shown import PictureLoader
from lungdet.evaluation.thresholds import RECALLS, Threshold, choose_thresholds, recall_names
from lungdet.evaluation.wording import CANDIDATES, Wording
from lungdet.metrics.delong import AurocDifference, delong_difference
from lungdet.metrics.mcnemar import McNemar, mcnemar
from lungdet.metrics.ranking import auroc, average_precision, under_patient_weights

logger = logging.getLogger(__name__)

_AREAS = {"auroc": auroc, "average_precision": average_precision}
_CALLS = {"sensitivity": "Sensitivity", "specificity": "Specificity", "precision": "Precision", "f1": "F1"}


def measures_of(recalls: Sequence[float] = RECALLS) -> tuple[Measure, ...]:
    """What is compared, in the order of the table.

    Args:
        recalls: that thresholds aim at; for each also the specificity where the ROC curve itself reaches it.
    """
    aims = recall_names(recalls)
    return (
        Measure("auroc", "AUROC"),
        Measure("average_precision", "Average precision"),
        *(
            Measure(f"roc_specificity_{name}", f"Specificity where the ROC curve reaches sensitivity {aim:g}")
            for name, aim in aims.items()
        ),
        *(
            Measure(f"{call}_{threshold}", f"{title} at {threshold_name(threshold)}")
            for threshold in (*aims, "max_f1")
            for call, title in _CALLS.items()
        ),
        Measure("brier", "Brier score", larger_is_better=False, digits=4),
        Measure("ece", "ECE", larger_is_better=False, digits=4),
    )


def compare_classification(
    runs: Sequence[ComparedRun],
    *,
    wording: Wording = CANDIDATES,
    load_pictures: PictureLoader | None = None,
    no_pictures_because: str = "no pixels were handed to the comparison",
    n_resamples: int = 1000,
    seed: int = 0,
    recalls: Sequence[float] = RECALLS,
    n_disagreements: int = 6,
) -> ComparisonReport:
    """Compare classifiers that scored the same rows.

    The same patients are drawn for all runs, so that differences are paired. Each run calls at thresholds chosen on its
    own validation rows.

    Args:
        runs: at least two, each with its own name.
        wording: what rows and classes are called.
        load_pictures: gives the pictures of a row, for the disagreements.
        no_pictures_because: what the page says when it is None.
        n_resamples: of the patient bootstrap.
        seed: of the bootstrap.
        recalls: what thresholds aim at.
        n_disagreements: rows of each class to show.

    Raises:
        TableError: runs of different tasks or on different rows; the message says how they differ.
        ConfigError: recalls that `recall_names` refuses.
    """
    measures = measures_of(recalls)
    check_same_task(runs)
    partition = shared_partition(runs)
    check_same_rows(runs, partition)
    tables = {run.name: rows_of(run, partition) for run in runs}
    here = next(iter(tables.values()))
    logger.info("comparing %d runs on %d %s, %d resamples", len(runs), len(here), wording.items, n_resamples)
    draws = PatientDraws(here["patient_id"], n_resamples=n_resamples, seed=seed)
    patients_known = not wording.are_images or not (here["patient_id"] == here["series_uid"]).any()
    thresholds = {run.name: _thresholds(run, recalls) for run in runs}
    sampled = {name: _sampled(table, draws, thresholds[name], recalls) for name, table in tables.items()}
    results = {name: {key: s.estimate for key, s in measured.items()} for name, measured in sampled.items()}
    return ComparisonReport(
        task=wording.subject,
        names=tuple(tables),
        partition=partition,
        unit="patients" if patients_known else wording.items,
        n_resamples=n_resamples,
        seed=seed,
        counts={
            **({"patients": draws.n_patients} if patients_known else {}),
            **({} if wording.are_images else {"CT series": here["series_uid"].nunique()}),
            wording.items: len(here),
            wording.positives: int(here["label"].sum()),
        },
        measures=measures,
        results=results,
        pairs=_pairs(
            tables,
            sampled,
            draws,
            thresholds,
            measures=measures,
            unit="patient" if patients_known else wording.item,
        ),
        findings=cautions(runs, partition, n_patients=draws.n_patients, n_resamples=n_resamples, rows=wording.items),
        settings=differing_settings(runs),
        origins=differing_origins(runs),
        thresholds=thresholds,
        disagreements=find_disagreements(tables, n=n_disagreements, load_pictures=load_pictures),
        are_images=wording.are_images,
        pictures_left_out="" if load_pictures is not None else no_pictures_because,
        curves=comparison_curves(tables, with_froc=not wording.are_images),
        points=_points(results, list(next(iter(thresholds.values())))),
        prevalence=float(here["label"].mean()),
        froc_at={} if wording.are_images else froc_sensitivities(tables),
        histories={run.name: by_epoch(run.history) for run in runs if run.history is not None},
    )


def _thresholds(run: ComparedRun, recalls: Sequence[float]) -> dict[str, Threshold]:
    val = rows_of(run, "val")
    chosen = choose_thresholds(val["label"], val["logit"], recalls=recalls)
    return {name: chosen[name] for name in (*recall_names(recalls), "max_f1")}


def _sampled(
    table: pd.DataFrame, draws: PatientDraws, thresholds: Mapping[str, Threshold], recalls: Sequence[float]
) -> dict[str, Sampled]:
    label, logit = table["label"].to_numpy(), table["logit"].to_numpy(dtype=np.float64)
    probability = sigmoid(logit)  # in float64: the table's own are rounded to fp32
    measured = _areas(table, draws)
    for name, aim in recall_names(recalls).items():
        point, samples = roc_point(table, draws, aim=aim)
        measured[f"roc_specificity_{name}"] = Sampled(point.specificity, samples)
    for name, threshold in thresholds.items():
        if math.isnan(threshold.logit):
            missing = Sampled.missing(threshold.reason, n_resamples=len(draws.weights))
            measured |= {f"{call}_{name}": missing for call in _CALLS}
            continue
        called, positive = logit >= threshold.logit, label == 1
        hits = called & positive
        for call, part, whole, reason in (
            ("sensitivity", hits, positive, "no positives"),
            ("specificity", ~called & ~positive, ~positive, "no negatives"),
            ("precision", hits, called, "nothing is called"),
            ("f1", 2.0 * hits, called.astype(float) + positive, "no positives, none called"),
        ):
            measured[f"{call}_{name}"] = sampled_ratio(draws, part, whole, reason=reason)
    return measured | {
        "brier": sampled_brier(draws, probability, label),
        "ece": sampled_ece(draws, probability, label),
    }


def _areas(table: pd.DataFrame, draws: PatientDraws) -> dict[str, Sampled]:
    label, logit = table["label"].to_numpy(), table["logit"].to_numpy()
    reason = why_no_area(table)
    if reason:
        return {name: Sampled.missing(reason, n_resamples=len(draws.weights)) for name in _AREAS}
    samples = under_patient_weights(label, logit, draws.patient, weights=draws.weights).samples
    return {
        name: Sampled(draws.area(area(label, logit), samples[name], label=label), samples[name])
        for name, area in _AREAS.items()
    }


def _pairs(
    tables: Mapping[str, pd.DataFrame],
    sampled: Mapping[str, Mapping[str, Sampled]],
    draws: PatientDraws,
    thresholds: Mapping[str, Mapping[str, Threshold]],
    *,
    measures: Sequence[Measure],
    unit: str,
) -> tuple[Pair, ...]:
    differences = paired_differences(sampled, measures, draws)
    tests = {pair: _delong(tables[pair[0]], tables[pair[1]]) for pair in combinations(tables, 2)}
    adjusted = dict(zip(tests, holm([by_patient.p for by_patient, _ in tests.values()]), strict=True))
    return tuple(
        Pair(
            first,
            second,
            differences[first, second],
            judge(
                first,
                second,
                differences[first, second]["auroc"],
                measure=measures[0],
                n_pairs=len(differences),
                unit=unit,
            ),
            delong=Delong(*tests[first, second], p_holm=adjusted[first, second]),
            mcnemar={
                name: _mcnemar(tables[first], tables[second], thresholds[first][name], thresholds[second][name])
                for name in thresholds[first]
                if not math.isnan(thresholds[first][name].logit + thresholds[second][name].logit)
            },
        )
        for first, second in differences
    )


def _delong(first: pd.DataFrame, second: pd.DataFrame) -> tuple[AurocDifference, AurocDifference]:
    """With candidates of a patient as a cluster, and as independent."""
    label, scores = first["label"], (first["logit"], second["logit"])
    return delong_difference(label, *scores, cluster=first["patient_id"]), delong_difference(label, *scores)


def _mcnemar(first: pd.DataFrame, second: pd.DataFrame, one: Threshold, two: Threshold) -> dict[str, McNemar]:
    positive = first["label"].to_numpy() == 1
    right = [
        (table["logit"].to_numpy(dtype=np.float64) >= threshold.logit) == positive
        for table, threshold in ((first, one), (second, two))
    ]
    groups = {"positives": positive, "negatives": ~positive, "all": np.ones_like(positive)}
    return {name: mcnemar(right[0][rows], right[1][rows]) for name, rows in groups.items()}


def _points(
    results: Mapping[str, Mapping[str, Estimate]], thresholds: Sequence[str]
) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    return {
        name: {
            threshold: {
                "roc": (1 - here[f"specificity_{threshold}"].value, here[f"sensitivity_{threshold}"].value),
                "precision_recall": (here[f"sensitivity_{threshold}"].value, here[f"precision_{threshold}"].value),
            }
            for threshold in thresholds
        }
        for name, here in results.items()
    }
