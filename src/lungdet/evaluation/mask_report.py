"""A segmentation report on disk: report.json, curves.parquet and the self-contained report.html."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lungdet.evaluation.mask_figures import dice_figure, voxel_precision_recall_figure
from lungdet.evaluation.mask_predictions import N_BINS
from lungdet.evaluation.mask_results import MaskReport
from lungdet.evaluation.page import (
    EN_DASH,
    PARTITION_NAMES,
    Tile,
    count_text,
    estimate_tile,
    flat_lines,
    interval_text,
    number_text,
    page_environment,
)
from lungdet.evaluation.page_figures import embedded_figure, history_figures
from lungdet.evaluation.report_files import WrittenReport, write_report_files

_SCOPE_TITLES = {"whole_volume": "Whole volume", "crop_level": "Crop level: around nodules"}
_SCOPE_NAMES = {"whole_volume": "whole volume", "crop_level": "crop level"}
_SCOPE_EXPLANATIONS = {
    "whole_volume": "Every voxel of the scans counts, wherever it lies.",
    "crop_level": "Only voxels count that lie where a training crop around an annotated nodule lies.",
}
_HISTORY = (
    ("loss", "min", "Loss, by epoch"),
    ("dice", "max", "Dice: training over augmented crops, validation over whole volumes, by epoch"),
    ("crop_dice", "max", "Dice of validation around nodules, which is what training crops show, by epoch"),
    (
        "average_precision",
        "max",
        "Average precision: training over augmented crops, validation over whole volumes, by epoch",
    ),
)
_SCANS_SHOWN = 40


def write_mask_report(report: MaskReport, folder: Path | str) -> WrittenReport:
    """Write all files of a report; the same report gives the same bytes.

    Args:
        report: from `evaluate_masks`.
        folder: made if missing; files of an earlier report are replaced.
    """
    page = render_mask_html(report)
    return write_report_files(folder, record=report.to_dict(), curves=report.curves, page=page)


def render_mask_html(report: MaskReport) -> str:
    """The report as one HTML page that refers to nothing outside itself."""
    history = list(history_figures(report.history, _HISTORY))
    ceiling = report.ceiling.get(report.partition)
    return (
        page_environment()
        .get_template("masks.html.j2")
        .render(
            report=report,
            here=report.counts[report.partition],
            here_name=_here(report),
            answer=_answer(report),
            tiles=_tiles(report),
            sections=_sections(report, trained=bool(history)),
            curve_figures=list(_curve_figures(report)),
            history_figures=history,
            partition_names=PARTITION_NAMES,
            scope_titles=_SCOPE_TITLES,
            scope_names=_SCOPE_NAMES,
            scope_explanations=_SCOPE_EXPLANATIONS,
            no_readers=ceiling is not None and not ceiling.n_scans and ceiling.n_scans_by_rule,
            n_bins=N_BINS,
            scans_sentence=_scans_sentence(report),
            scan_tables=_scan_tables(report),
            provenance=list(flat_lines(report.provenance, none="unknown")),
        )
    )


def _here(report: MaskReport) -> str:
    return PARTITION_NAMES[report.partition].lower()


def _answer(report: MaskReport) -> str:
    scopes = report.results[report.partition]
    whole, crop = scopes["whole_volume"].at_half, scopes["crop_level"].at_half
    if math.isnan(whole.dice.value):
        return f"No answer yet: {whole.dice.reason} in {_here(report)}."
    if not scopes["whole_volume"].nodule_voxels:
        return f"No answer yet: no nodule voxels in {_here(report)}; {whole.fp:,} voxels are called there."
    around = "" if math.isnan(crop.dice.value) else f" Around nodules alone it is {crop.dice.value:.3f}."
    if not whole.tp + whole.fp:
        return f"The network calls nothing: of {whole.fn:,} nodule voxels none is found, and no other voxel is called."
    return (
        f"Over whole scans the network's mask and the reference overlap with a Dice of {whole.dice.value:.3f}: "
        f"{100 * whole.recall.value:.0f} % of the nodule voxels are called, and {100 * whole.precision.value:.0f} % of "
        f"the called voxels are nodule.{around}"
    )


def _tiles(report: MaskReport) -> list[Tile]:
    scopes = report.results[report.partition]
    tiles = [
        estimate_tile("Dice, whole volume", scopes["whole_volume"].at_half.dice),
        estimate_tile("Dice, crop level", scopes["crop_level"].at_half.dice),
        estimate_tile("Average precision", scopes["whole_volume"].average_precision),
    ]
    ceiling = report.ceiling.get(report.partition)
    if ceiling is None:
        value, note = EN_DASH, "not measured"
    elif not ceiling.n_scans:
        value, note = EN_DASH, "no readers: masks follow from the annotations' rule"
    else:
        value = number_text(ceiling.pooled_dice.value)
        nodules = count_text(ceiling.n_nodules, "nodule")
        note = f"the ceiling, of {nodules}" if ceiling.n_nodules else "no common nodule"
    return [*tiles, ("Dice, reader against reader", value, note)]


def _sections(report: MaskReport, *, trained: bool) -> list[tuple[str, str]]:
    listed = [
        ("findings", "Read this first", bool(report.findings)),
        ("data", "Data", True),
        ("leak-audit", "Leak audit", True),
        ("overlap", "Overlap", True),
        ("ceiling", "Readers", True),
        ("threshold", "Threshold", True),
        ("tiles", "Passed over", True),
        ("scans", "Scans", True),
        ("training", "Training", trained),
        ("provenance", "Provenance", True),
    ]
    return [(anchor, name) for anchor, name, shown in listed if shown]


def _curve_figures(report: MaskReport) -> Iterator[dict[str, Any]]:
    here = report.curves[report.curves["partition"] == report.partition]
    by_scope = {name: here[here["scope"] == scope] for scope, name in _SCOPE_NAMES.items()}
    shown = {name: curve for name, curve in by_scope.items() if curve["recall"].notna().any()}
    if not shown:
        return
    thresholds = {"0.5": 0.0}
    if report.partition in report.threshold.on and report.threshold.logit != 0:
        thresholds["chosen"] = report.threshold.logit
    yield embedded_figure(
        "dice",
        dice_figure(shown, thresholds),
        f"Dice by threshold on {_here(report)}, exact at each edge of the bins. A flat top forgives a threshold that "
        "is a little off.",
    )
    whole = by_scope["whole volume"].set_index("logit")
    points = {
        name: (float(whole["recall"].loc[logit]), float(whole["precision"].loc[logit]))
        for name, logit in thresholds.items()
    }
    yield embedded_figure(
        "precision-recall",
        voxel_precision_recall_figure(shown, points),
        f"Voxel precision by recall on {_here(report)}; each dot is a threshold. The labelled dots are whole-volume.",
    )


def _scans_sentence(report: MaskReport) -> str:
    summary = report.scan_summary[report.partition]
    low, middle, high = summary.dice_quartiles
    parts = []
    if not math.isnan(middle):
        mean = summary.mean_dice
        interval = f" ({interval_text(mean)})" if not math.isnan(mean.low) else ""
        parts.append(
            f"Each scan with nodule voxels counting alike, the mean Dice is {mean.value:.3f}{interval}; half of the "
            f"scans lie between {low:.2f} and {high:.2f}, the middle one has {middle:.2f}."
        )
    if summary.without_nodule:
        parts.append(
            f"Of {count_text(summary.without_nodule, 'scan')} without a nodule voxel, "
            f"{summary.marked_without_nodule:,} {'has' if summary.marked_without_nodule == 1 else 'have'} voxels "
            f"called: {summary.fp_voxels_median:,.0f} in the middle one, {summary.fp_voxels_largest:,} in the worst."
        )
    return " ".join(parts) + " All at probability 0.5."


def _scan_tables(report: MaskReport) -> list[dict[str, Any]]:
    here = report.scans[report.scans["partition"] == report.partition]
    has_nodule = here["nodule_voxels"] > 0
    listed = [
        ("with-nodule", "With nodules, worst first", here[has_nodule].sort_values("dice", kind="stable")),
        (
            "without-nodule",
            "Without nodules, most false voxels first",
            here[~has_nodule].sort_values("fp", ascending=False, kind="stable"),
        ),
    ]
    return [
        {
            "id": name,
            "title": title,
            "with_nodule": name == "with-nodule",
            "rows": table.head(_SCANS_SHOWN).to_dict("records"),
            "left_out": max(0, len(table) - _SCANS_SHOWN),
        }
        for name, title, table in listed
    ]
