"""What the evaluation of a segmentation run finds; `MaskReport.to_dict` is the content of report.json."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lungdet.evaluation.audit_results import Audit
from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.results import Finding, to_plain


@dataclass(frozen=True)
class OverlapEstimates:
    """Voxels by reference and call at one threshold, and what follows; Dice and F1 of two masks are one number."""

    tp: int
    fp: int
    fn: int
    tn: int
    dice: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class ScopeResult:
    """One scope (whole volume or crop level) of one partition.

    Attributes:
        voxels, nodule_voxels: with a logit.
        not_a_number: voxels without one, in none of the counts.
        prevalence: nodule voxels / voxels, NaN without voxels.
        at_half: at probability 0.5.
        average_precision: of the binned logits.
        average_precision_bounds: between which the value of the logits themselves lies.
    """

    voxels: int
    nodule_voxels: int
    not_a_number: int
    prevalence: float
    at_half: OverlapEstimates
    average_precision: Estimate
    average_precision_bounds: tuple[float, float]


@dataclass(frozen=True)
class ChosenThreshold:
    """The threshold of the largest whole-volume Dice on validation, and what it does.

    Attributes:
        logit: NaN when it could not be chosen.
        probability: its sigmoid.
        reason: why there is none; empty when there is.
        on: partition -> scope -> overlap there.
        dice_difference: partition -> scope -> Dice there minus Dice at 0.5, paired by patient.
    """

    logit: float
    probability: float
    reason: str = ""
    on: dict[str, dict[str, OverlapEstimates]] = field(default_factory=dict)
    dice_difference: dict[str, dict[str, Estimate]] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskCounts:
    """What one partition holds.

    Attributes:
        tiles_with_nodule, series_with_nodule: with at least one nodule voxel in the mask.
        annotated_without_mask: series with an annotated nodule but no nodule voxel.
    """

    patients: int
    series: int
    series_with_nodule: int
    annotated_without_mask: int
    tiles: int
    tiles_with_nodule: int


@dataclass(frozen=True)
class TileResult:
    """Slices or boxes at probability 0.5.

    Attributes:
        with_nodule: tiles with nodule voxels; `missed` of them have none of these called, `silent` no voxel at all.
        without_nodule: the others; in `marked` of them some voxel is called.
        missed_share, marked_share: with intervals.
    """

    with_nodule: int
    missed: int
    silent: int
    without_nodule: int
    marked: int
    missed_share: Estimate
    marked_share: Estimate


@dataclass(frozen=True)
class ScanSummary:
    """Scans at probability 0.5; `dice_quartiles` are of the scans with nodule voxels, NaN without any.

    Attributes:
        mean_dice: each scan counts alike, with the interval over patients.
        fp_voxels_median, fp_voxels_largest: of the scans without nodule voxels.
        marked_without_nodule: how many of these have a voxel called.
    """

    with_nodule: int
    mean_dice: Estimate
    dice_quartiles: tuple[float, float, float]
    without_nodule: int
    marked_without_nodule: int
    fp_voxels_median: float
    fp_voxels_largest: int


@dataclass(frozen=True)
class Ceiling:
    """How well the readers of one partition agree with each other.

    Attributes:
        pooled_dice: over all pairs of readers of all nodules, each voxel counting alike.
        mean_dice: mean over nodules of their pooled Dice.
        n_nodules: marked by two readers or more.
        n_single_reader: marked by one only, left out.
        n_scans: with masks of readers.
        n_scans_by_rule: whose masks follow from the annotations' rule, left out.
    """

    pooled_dice: Estimate
    mean_dice: Estimate
    n_nodules: int
    n_single_reader: int
    n_scans: int
    n_scans_by_rule: int


@dataclass(frozen=True)
class MaskReport:
    """Everything a segmentation report shows; made by `evaluate_masks`, written by `write_mask_report`.

    Attributes:
        title: headline of the report.
        provenance: where the predictions come from.
        partition: the one whose numbers are quoted: `test`, or `val` when there is no test row.
        n_resamples, seed: of the patient bootstrap.
        counts, tiles, scan_summary, ceiling: by partition; a partition without ceiling was not measured.
        results: partition -> scope (`whole_volume`, `crop_level`) -> numbers.
        scans: one row a scan: partition, series_uid, patient_id, tiles, nodule_voxels, tp, fp, fn, not_a_number, dice
            (NaN without nodule voxels).
        curves: columns partition, scope, logit, probability, tp, fp, fn, dice, precision, recall, one row a threshold.
        history: per-epoch training metrics, or None.
    """

    title: str
    provenance: dict[str, Any]
    partition: str
    n_resamples: int
    seed: int
    counts: dict[str, MaskCounts]
    audit: Audit
    results: dict[str, dict[str, ScopeResult]]
    threshold: ChosenThreshold
    ceiling: dict[str, Ceiling]
    tiles: dict[str, TileResult]
    scan_summary: dict[str, ScanSummary]
    findings: tuple[Finding, ...]
    scans: pd.DataFrame = field(repr=False)
    curves: pd.DataFrame = field(repr=False)
    history: pd.DataFrame | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: floats rounded to 12 significant digits, None for NaN; curves are left out (their own file)."""
        elsewhere = {"curves", "history", "scans"}
        record = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in elsewhere}
        record["scans"] = self.scans.to_dict("records")
        record["history"] = None if self.history is None else self.history.to_dict("list")
        plain: dict[str, Any] = to_plain(record)
        return plain
