"""Segmentation networks on the same tiles: Dice over all voxels, per scan and in crops, and all paired differences."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lungdet.comparison.cautions import cautions
from lungdet.comparison.measures import Measure, Sampled, sampled_ratio
from lungdet.comparison.pairs import Pair, judge, paired_differences
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.runs import ComparedRun
from lungdet.comparison.same_rows import KEY, check_same_rows, check_same_task, rows_of, shared_partition
from lungdet.comparison.settings import differing_origins, differing_settings
from lungdet.errors import TableError
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.history import by_epoch
from lungdet.evaluation.mask_estimates import VoxelCounts, edge_logits
from lungdet.evaluation.mask_predictions import HALF, SCOPES, stacked
from lungdet.evaluation.thresholds import Threshold

logger = logging.getLogger(__name__)

MEASURES = (
    Measure("dice", "Dice, whole volume, at 0.5"),
    Measure("dice_chosen", "Dice, whole volume, at its own threshold"),
    Measure("precision", "Voxel precision at 0.5"),
    Measure("recall", "Voxel recall at 0.5"),
    Measure("scan_dice", "Mean Dice of scans with nodules, at 0.5"),
    Measure("crop_dice", "Dice in crops around nodules, at 0.5"),
)
_VOXELS = ["tp", "fp", "fn", "tn", "not_a_number"]
_NO_VOXELS = "no nodule voxels, none called"


def compare_masks(runs: Sequence[ComparedRun], *, n_resamples: int = 1000, seed: int = 0) -> ComparisonReport:
    """Compare segmentation runs that scored the same tiles with the same masks; the same patients are drawn for all.

    Args:
        runs: at least two, with tables of counted voxels.
        n_resamples: of the patient bootstrap.
        seed: of the bootstrap.

    Raises:
        TableError: runs of different tasks, on different tiles, or whose masks hold different voxels.
    """
    check_same_task(runs)
    partition = shared_partition(runs)
    check_same_rows(runs, partition)
    tables = {run.name: rows_of(run, partition) for run in runs}
    _check_same_masks(tables)
    here = next(iter(tables.values()))
    logger.info("comparing %d runs on %d tiles, %d resamples", len(runs), len(here), n_resamples)
    draws = PatientDraws(here["patient_id"], n_resamples=n_resamples, seed=seed)
    edges = {run.name: _own_edge(rows_of(run, "val")) for run in runs}
    sampled = {name: _sampled(table, draws, edges[name]) for name, table in tables.items()}
    differences = paired_differences(sampled, MEASURES, draws)
    return ComparisonReport(
        task="Nodule segmentation",
        names=tuple(tables),
        partition=partition,
        unit="patients",
        n_resamples=n_resamples,
        seed=seed,
        counts={
            "patients": draws.n_patients,
            "CT series": here["series_uid"].nunique(),
            "tiles": len(here),
            "nodule voxels": int((here["tp"] + here["fn"]).sum()),
        },
        measures=MEASURES,
        results={name: {key: s.estimate for key, s in measured.items()} for name, measured in sampled.items()},
        pairs=tuple(
            Pair(a, b, found, judge(a, b, found["dice"], measure=MEASURES[0], n_pairs=len(differences)))
            for (a, b), found in differences.items()
        ),
        findings=cautions(runs, partition, n_patients=draws.n_patients, n_resamples=n_resamples, rows="tiles"),
        settings=differing_settings(runs),
        origins=differing_origins(runs),
        thresholds={name: {"max_dice": _threshold(edge)} for name, edge in edges.items()},
        histories={run.name: by_epoch(run.history) for run in runs if run.history is not None},
    )


def _check_same_masks(tables: Mapping[str, pd.DataFrame]) -> None:
    (first, reference), *others = tables.items()
    for name, table in others:
        # Voxels without a logit are in none of the counts: such a tile can only be held together as a whole.
        counted = (reference["not_a_number"] == 0) & (table["not_a_number"] == 0)
        other_nodule = counted & (reference["tp"] + reference["fn"] != table["tp"] + table["fn"])
        other_voxels = reference[_VOXELS].sum(axis=1) != table[_VOXELS].sum(axis=1)
        differing = np.flatnonzero(other_nodule | other_voxels)
        if differing.size:
            row = table.iloc[int(differing[0])]
            raise TableError(
                f"{first} and {name} were measured against different masks: nodule voxels or valid voxels differ in "
                f"{differing.size:,} of {len(table):,} tiles, first in tile {row[KEY[1]]} of series {row[KEY[0]]}. "
                "Predict with both on the same store and the same rule for masks"
            )


def _own_edge(val: pd.DataFrame) -> int | str:
    """The bin edge of the largest whole-volume Dice on validation, or why there is none."""
    counts = VoxelCounts(val, SCOPES["whole_volume"], PatientDraws(val["patient_id"], n_resamples=0, seed=0))
    if val.empty or counts.undefined or not counts.positives.sum():
        return f"{'no rows' if val.empty else counts.undefined or 'no nodule voxels'} in val"
    return counts.best_edge()


def _threshold(edge: int | str) -> Threshold:
    rule = "largest whole-volume Dice"
    if isinstance(edge, str):
        return Threshold("max_dice", rule, math.nan, "val", edge)
    return Threshold("max_dice", rule, float(edge_logits()[edge]), "val")


def _sampled(table: pd.DataFrame, draws: PatientDraws, edge: int | str) -> dict[str, Sampled]:
    measured = {}
    for key, prefix in (("dice", ""), ("crop_dice", "crop_")):
        if int(table[f"{prefix}not_a_number"].sum()):
            measured[key] = _broken(draws)
        else:
            measured[key] = _dice(table, prefix, HALF, draws)
    broken = bool(table["not_a_number"].sum())
    if broken or isinstance(edge, str):
        missing = _broken(draws) if broken else Sampled.missing(str(edge), n_resamples=len(draws.weights))
        measured["dice_chosen"] = missing
    else:
        measured["dice_chosen"] = _dice(table, "", edge, draws)
    tp, fp, fn = (table[name].to_numpy(np.float64) for name in ("tp", "fp", "fn"))
    measured["precision"] = _broken(draws) if broken else _ratio(draws, tp, tp + fp, reason="no voxel is called")
    measured["recall"] = _broken(draws) if broken else _ratio(draws, tp, tp + fn, reason="no nodule voxels")
    measured["scan_dice"] = _broken(draws) if broken else _scan_dice(table, draws)
    return {measure.key: measured[measure.key] for measure in MEASURES}


def _broken(draws: PatientDraws) -> Sampled:
    return Sampled.missing("the network gave no number for some voxels", n_resamples=len(draws.weights))


def _dice(table: pd.DataFrame, prefix: str, edge: int, draws: PatientDraws) -> Sampled:
    positives, negatives = (stacked(table, f"{prefix}{name}") for name in ("positives", "negatives"))
    tp, fp = positives[:, edge:].sum(1), negatives[:, edge:].sum(1)
    return _ratio(draws, 2 * tp, tp + fp + positives.sum(1), reason=_NO_VOXELS)


def _scan_dice(table: pd.DataFrame, draws: PatientDraws) -> Sampled:
    """Each scan with nodule voxels counts alike."""
    scans = table.groupby("series_uid", sort=False)[["tp", "fp", "fn"]].transform("sum")
    nodule = scans["tp"] + scans["fn"] > 0
    counted = nodule & ~table["series_uid"].duplicated()
    dice = 2 * scans["tp"] / (2 * scans["tp"] + scans["fp"] + scans["fn"]).clip(lower=1)
    return _ratio(draws, dice.where(counted, 0.0), counted, reason="no scan with nodule voxels")


def _ratio(draws: PatientDraws, part: object, whole: object, *, reason: str) -> Sampled:
    """A ratio of voxels; with nodule voxels of one patient only, or no spread, there is no honest interval."""
    sampled = sampled_ratio(draws, np.asarray(part), np.asarray(whole), reason=reason)
    finite = sampled.samples[np.isfinite(sampled.samples)]
    if finite.size and np.ptp(finite) < 1e-12:
        return Sampled(Estimate(sampled.estimate.value, reason="the same in every resample"), sampled.samples)
    return sampled
