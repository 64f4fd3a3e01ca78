"""Remarks in plain language on a segmentation's numbers: what a careful colleague would point out first."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lungdet.evaluation.mask_results import MaskReport, ScopeResult
from lungdet.evaluation.remarks import about_split, count, warnings_first
from lungdet.evaluation.results import Finding

WIDE_INTERVAL = 0.2
TINY_PRECISION = 0.1
LOOSE_BOUNDS = 0.02
OFTEN = 0.5


def find_in_masks(report: MaskReport) -> tuple[Finding, ...]:
    """All remarks, warnings first, otherwise in the order of the report."""
    return warnings_first(
        [
            *_about_network(report),
            *_about_data(report),
            *_about_overlap(report),
            *_about_scopes(report),
            *_about_threshold(report),
            *_about_ceiling(report),
            *_about_tiles(report),
        ]
    )


def _about_network(report: MaskReport) -> Iterator[Finding]:
    broken = {name: scopes["whole_volume"].not_a_number for name, scopes in report.results.items()}
    if any(broken.values()):
        where = " and ".join(f"{count(n, 'voxel')} of {name}" for name, n in broken.items() if n)
        yield Finding(
            "warning",
            "not_a_number",
            f"The network gave no number (NaN) for {where}: its weights are broken, usually by a training that "
            "diverged. No score of that partition is given. Train again with a lower learning rate (optim.lr).",
        )


def _about_data(report: MaskReport) -> Iterator[Finding]:
    partition = report.partition
    here = report.counts[partition]
    yield from about_split(
        partition,
        report.audit,
        n_patients=here.patients,
        provenance=report.provenance,
        chosen="the checkpoint was",
        leaked="The checkpoint has been chosen on patients it is judged on",
    )
    if not here.tiles_with_nodule:
        yield Finding(
            "warning",
            "no_nodule_voxels",
            f"No mask of the {partition} partition holds a nodule voxel: overlap cannot be measured; only false voxels "
            "can be counted.",
        )
    for name, counts in report.counts.items():
        if counts.annotated_without_mask:
            yield Finding(
                "warning",
                "annotated_without_mask",
                f"{count(counts.annotated_without_mask, 'scan')} of {name} with an annotated nodule "
                f"{'has' if counts.annotated_without_mask == 1 else 'have'} no nodule voxel in the mask: "
                "finding that nodule counts as false there. Too few readers outlined it (data.samples.min_readers), "
                "or it is smaller than a voxel of the store.",
            )


def _about_overlap(report: MaskReport) -> Iterator[Finding]:
    result = _quoted(report)
    half = result.at_half
    if not result.nodule_voxels or result.not_a_number:
        return
    advice = _advice(report)
    if half.tp + half.fp == 0:
        yield Finding(
            "warning",
            "predicts_nothing",
            f"At 0.5 not one voxel is called: Dice is 0 because the network predicts nothing.{advice}",
        )
    elif half.tp == 0:
        yield Finding(
            "warning",
            "hits_nothing",
            f"At 0.5 {count(half.fp, 'voxel')} are called, and none of them is nodule: Dice is 0.{advice}",
        )
    elif half.precision.value < TINY_PRECISION:
        yield Finding(
            "warning",
            "tiny_precision",
            f"Of 1,000 voxels called, {1000 * half.precision.value:.0f} are nodule: the network marks "
            f"{half.fp / max(1, result.nodule_voxels):,.1f} false voxels for each nodule voxel there is.{advice}",
        )
    elif half.recall.value < OFTEN * half.precision.value:
        yield Finding(
            "note",
            "marks_too_little",
            f"What is called is mostly nodule (precision {half.precision.value:.2f}), but only "
            f"{100 * half.recall.value:.0f} % of the nodule voxels are called.{advice}",
        )
    if half.dice.width > WIDE_INTERVAL:
        yield Finding(
            "warning",
            "wide_interval",
            f"The whole-volume Dice is known to {half.dice.low:.2f}-{half.dice.high:.2f} only: smaller differences "
            "between models may be chance.",
        )
    if result.average_precision.value <= 2 * result.prevalence:
        yield Finding(
            "warning",
            "chance",
            "Average precision is that of guessing (the share of nodule voxels): the logits do not tell nodule from "
            "the rest.",
        )
    low, high = result.average_precision_bounds
    if high - low > LOOSE_BOUNDS:
        yield Finding(
            "note",
            "loose_bounds",
            f"Average precision is known to {low:.3f}-{high:.3f}: many logits share a bin. Compare models by Dice, "
            "which is exact.",
        )
    val = report.results["val"]["whole_volume"].at_half.dice.value
    if report.partition == "test" and val > half.dice.high:
        yield Finding(
            "note",
            "val_optimistic",
            f"Validation Dice {val:.3f} lies above the test interval ({half.dice.low:.3f}-{half.dice.high:.3f}): the "
            "checkpoint was chosen on validation, which flatters it.",
        )


def _about_scopes(report: MaskReport) -> Iterator[Finding]:
    whole, crop = (report.results[report.partition][s].at_half for s in ("whole_volume", "crop_level"))
    if crop.dice.value - whole.dice.value > 0.1:
        elsewhere = whole.fp - crop.fp
        yield Finding(
            "note",
            "crop_level_flatters",
            f"Dice is {crop.dice.value:.2f} around nodules and {whole.dice.value:.2f} over whole volumes: "
            f"{elsewhere:,} of {whole.fp:,} false voxels lie away from every nodule, where crops do not look. Quote "
            "the whole-volume number for anything that searches scans.",
        )


def _about_threshold(report: MaskReport) -> Iterator[Finding]:
    threshold = report.threshold
    if report.partition != "test" or "test" not in threshold.on:
        return
    change = threshold.dice_difference["test"]["whole_volume"]
    if change.low > 0:
        yield Finding(
            "note",
            "threshold_helps",
            f"The threshold chosen on validation ({threshold.probability:.3g}) gives a better Dice on test than 0.5: "
            f"{change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f}, paired by patient).",
        )
    elif change.high < 0:
        yield Finding(
            "warning",
            "threshold_not_carried",
            f"The threshold with the largest Dice on validation ({threshold.probability:.3g}) gives a worse one on "
            f"test than 0.5: {change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f}). Keep 0.5.",
        )


def _about_ceiling(report: MaskReport) -> Iterator[Finding]:
    ceiling = report.ceiling.get(report.partition)
    if ceiling is None:
        return
    if ceiling.n_scans and ceiling.n_scans_by_rule:
        yield Finding(
            "note",
            "mixed_masks",
            f"{count(ceiling.n_scans_by_rule, 'scan')} of {report.partition} have masks made by the annotations' rule, "
            f"{ceiling.n_scans} have masks of readers: the Dice mixes both, the readers' agreement does not.",
        )
    crop, readers = report.results[report.partition]["crop_level"].at_half.dice, ceiling.pooled_dice
    if crop.value >= readers.value:
        yield Finding(
            "good",
            "reaches_readers",
            f"Around nodules the network agrees with the mask (Dice {crop.value:.2f}) as well as two readers agree "
            f"with each other ({readers.value:.2f}): a higher one would say little.",
        )


def _about_tiles(report: MaskReport) -> Iterator[Finding]:
    tiles, result = report.tiles[report.partition], _quoted(report)
    if result.not_a_number or result.at_half.tp + result.at_half.fp == 0:
        return
    if tiles.with_nodule and tiles.missed > OFTEN * tiles.with_nodule:
        yield Finding(
            "warning",
            "tiles_missed",
            f"Of {count(tiles.with_nodule, 'tile')} with nodule voxels, {tiles.missed:,} have none of them called.",
        )
    if tiles.without_nodule and tiles.marked > OFTEN * tiles.without_nodule:
        yield Finding(
            "warning",
            "tiles_marked",
            f"Of {count(tiles.without_nodule, 'tile')} without nodule voxels, {tiles.marked:,} have voxels called: "
            "a later step has to sort out that many false regions.",
        )


def _quoted(report: MaskReport) -> ScopeResult:
    return report.results[report.partition]["whole_volume"]


def _advice(report: MaskReport) -> str:
    """What another threshold would do, where one was chosen and does better."""
    threshold = report.threshold
    if report.partition not in threshold.on:
        return ""
    there = threshold.on[report.partition]["whole_volume"].dice.value
    if math.isnan(there) or there <= _quoted(report).at_half.dice.value:
        return ""
    return f" At {threshold.probability:.3g}, chosen on validation, Dice is {there:.3f}."
