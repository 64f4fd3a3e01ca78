"""Predictions of a segmentation network, as counted voxels -> every number of its report. No model, no masks."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lungdet.errors import TableError
from lungdet.evaluation.audit import audit_partitions
from lungdet.evaluation.audit_results import Choice
from lungdet.evaluation.estimates import Estimate, PatientDraws
from lungdet.evaluation.history import by_epoch
from lungdet.evaluation.mask_ceiling import ceilings
from lungdet.evaluation.mask_estimates import VoxelCounts, edge_logits
from lungdet.evaluation.mask_findings import find_in_masks
from lungdet.evaluation.mask_predictions import HALF, SCOPES, check_mask_predictions
from lungdet.evaluation.mask_results import ChosenThreshold, MaskCounts, MaskReport, ScanSummary, TileResult
from lungdet.evaluation.predictions import PARTITIONS, sigmoid

logger = logging.getLogger(__name__)

_NO_ROWS = "no rows"


def evaluate_masks(
    predictions: pd.DataFrame,
    *,
    title: str,
    provenance: Mapping[str, Any],
    ceiling: Mapping[str, Any] | None = None,
    history: pd.DataFrame | None = None,
    leak_audit: Mapping[str, Any] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> MaskReport:
    """Compute everything a segmentation report shows.

    Results are shown for both partitions; those of test are quoted (of validation when there are no test rows, and the
    report says so). Voxels are called at probability 0.5; the other threshold is chosen on validation. The same table
    gives the same numbers, whatever the order of its rows.

    Args:
        predictions: see `check_mask_predictions`.
        title: headline of the report.
        provenance: what to show about the origin: run, split hash, store fingerprint, git commit, versions, ...
        ceiling: how well readers agree, as `lungdet.training.reader_ceiling` measures it; None when nobody did.
        history: per-epoch metrics of the training: column epoch and `train/loss`, `val/dice`, `val/crop_dice`, ...;
            several rows per epoch are merged.
        leak_audit: what the run recorded about its partitions, see `audit_partitions`.
        n_resamples: patient-bootstrap resamples behind each interval.
        seed: of the resampling.

    Raises:
        TableError: no rows at all, a table that `check_mask_predictions` refuses, or a ceiling of other patients.
    """
    table = check_mask_predictions(predictions)
    if table.empty:
        raise TableError("the table of segmented tiles has no rows: was the run's predict step skipped?")
    parts = {name: table[table["partition"] == name].reset_index(drop=True) for name in PARTITIONS}
    draws = {name: PatientDraws(part["patient_id"], n_resamples=n_resamples, seed=seed) for name, part in parts.items()}
    logger.info("evaluating %d tiles, %d resamples", len(table), n_resamples)
    voxels = {
        name: {scope: VoxelCounts(part, prefix, draws[name]) for scope, prefix in SCOPES.items()}
        for name, part in parts.items()
    }
    scans = {name: _scans(part).assign(partition=name) for name, part in parts.items()}
    report = MaskReport(
        title=title,
        provenance=dict(provenance),
        partition="test" if len(parts["test"]) else "val",
        n_resamples=n_resamples,
        seed=seed,
        counts={name: _counts(part, scans[name]) for name, part in parts.items()},
        audit=audit_partitions(
            table,
            record=leak_audit,
            provenance=provenance,
            thresholds=Choice("Threshold", "val", "largest whole-volume Dice") if len(parts["val"]) else None,
        ),
        results={name: {scope: v.result() for scope, v in scopes.items()} for name, scopes in voxels.items()},
        threshold=_choose(voxels),
        ceiling=ceilings(ceiling, parts=parts, draws=draws),
        tiles={name: _tiles(part, draws[name]) for name, part in parts.items()},
        scan_summary={
            name: _summary(scans[name], PatientDraws(scans[name]["patient_id"], n_resamples=n_resamples, seed=seed))
            for name in parts
        },
        findings=(),
        scans=_joined(scans.values()),
        curves=_joined(
            v.curve().assign(partition=name, scope=scope)
            for name, scopes in voxels.items()
            for scope, v in scopes.items()
        ),
        history=None if history is None else by_epoch(history),
    )
    return dataclasses.replace(report, findings=find_in_masks(report))


def _joined(tables: Any) -> pd.DataFrame:
    """One table, partition (and scope) first; empty parts would decide over types."""
    every = list(tables)
    filled = [table for table in every if len(table)] or every[:1]
    joined = pd.concat(filled, ignore_index=True)
    first = [name for name in ("partition", "scope") if name in joined]
    ordered: pd.DataFrame = joined[[*first, *(name for name in joined if name not in first)]]
    return ordered


def _counts(part: pd.DataFrame, scans: pd.DataFrame) -> MaskCounts:
    has_nodule = (part["tp"] + part["fn"]).to_numpy() > 0
    return MaskCounts(
        patients=part["patient_id"].nunique(),
        series=len(scans),
        series_with_nodule=int((scans["nodule_voxels"] > 0).sum()),
        annotated_without_mask=int(((scans["nodule_voxels"] == 0) & scans["is_annotated"]).sum()),
        tiles=len(part),
        tiles_with_nodule=int(has_nodule.sum()),
    )


def _choose(voxels: Mapping[str, Mapping[str, VoxelCounts]]) -> ChosenThreshold:
    chooser = voxels["val"]["whole_volume"]
    nothing = _NO_ROWS if not chooser.draws.n_patients else chooser.undefined
    reason = nothing or ("" if chooser.positives.sum() else "no nodule voxels")
    if reason:
        return ChosenThreshold(math.nan, math.nan, reason=f"{reason} in validation")
    edge = chooser.best_edge()
    logit = float(edge_logits()[edge])
    there = {name: scopes for name, scopes in voxels.items() if scopes["whole_volume"].draws.n_patients}
    return ChosenThreshold(
        logit,
        float(sigmoid(logit)),
        on={name: {scope: v.overlap_at(edge) for scope, v in scopes.items()} for name, scopes in there.items()},
        dice_difference={
            name: {scope: v.dice_difference(edge, HALF) for scope, v in scopes.items()}
            for name, scopes in there.items()
        },
    )


def _tiles(part: pd.DataFrame, draws: PatientDraws) -> TileResult:
    tp, fp, fn = (part[name].to_numpy() for name in ("tp", "fp", "fn"))
    has_nodule = tp + fn > 0
    missed, marked = has_nodule & (tp == 0), ~has_nodule & (fp > 0)
    return TileResult(
        with_nodule=int(has_nodule.sum()),
        missed=int(missed.sum()),
        silent=int((missed & (fp == 0)).sum()),
        without_nodule=int((~has_nodule).sum()),
        marked=int(marked.sum()),
        missed_share=draws.ratio(missed, has_nodule, reason="no tile with nodule voxels"),
        marked_share=draws.ratio(marked, ~has_nodule, reason="no tile without nodule voxels"),
    )


def _scans(part: pd.DataFrame) -> pd.DataFrame:
    """One row a scan, in the order of the table."""
    by_scan = part.groupby("series_uid", sort=False)
    table = by_scan.agg(
        patient_id=("patient_id", "first"),
        is_annotated=("label", "max"),
        tiles=("candidate_id", "size"),
        **{name: (name, "sum") for name in ("tp", "fp", "fn", "not_a_number")},
    ).reset_index()
    nodule_voxels = table["tp"] + table["fn"]
    # A scan without nodule voxels has Dice 0 after a single false voxel: a number that says nothing.
    defined = (nodule_voxels > 0) & (table["not_a_number"] == 0)
    dice = (2 * table["tp"] / (2 * table["tp"] + table["fp"] + table["fn"]).clip(lower=1)).where(defined)
    return table.assign(is_annotated=table["is_annotated"] == 1, nodule_voxels=nodule_voxels, dice=dice)


def _summary(scans: pd.DataFrame, draws: PatientDraws) -> ScanSummary:
    dice = scans["dice"].to_numpy(np.float64)
    known = np.isfinite(dice)
    without = scans.loc[scans["nodule_voxels"] == 0, "fp"].to_numpy()
    quartiles = np.quantile(dice[known], [0.25, 0.5, 0.75]).tolist() if known.any() else [math.nan] * 3
    return ScanSummary(
        with_nodule=int((scans["nodule_voxels"] > 0).sum()),
        mean_dice=_mean(np.where(known, dice, 0.0), known, draws),
        dice_quartiles=(quartiles[0], quartiles[1], quartiles[2]),
        without_nodule=len(without),
        marked_without_nodule=int(np.count_nonzero(without)),
        fp_voxels_median=float(np.median(without)) if without.size else math.nan,
        fp_voxels_largest=int(without.max(initial=0)),
    )


def _mean(dice: np.ndarray, known: np.ndarray, draws: PatientDraws) -> Estimate:
    if not known.any():
        return Estimate(math.nan, reason="no scan with nodule voxels")
    value = float(dice[known].mean())
    if len(np.unique(draws.patient[known])) < 2:
        return Estimate(value, reason="nodule voxels in one patient only")
    tops = draws.weights @ np.bincount(draws.patient, weights=dice, minlength=draws.n_patients)
    n = draws.weights @ np.bincount(draws.patient, weights=known, minlength=draws.n_patients)
    return draws.estimate(value, np.divide(tops, n, out=np.full(len(n), np.nan), where=n > 0))
