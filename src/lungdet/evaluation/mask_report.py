"""A segmentation report on disk: report.json, curves.parquet and the self-contained report.html."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lungdet.evaluation.figures import history_figure
from lungdet.evaluation.mask_figures import dice_figure, voxel_precision_recall_figure
from lungdet.evaluation.mask_predictions import N_BINS
from lungdet.evaluation.mask_results import MaskReport
from lungdet.evaluation.page import (
    EN_DASH,
    PARTITION_NAMES,
    embedded_figure,
    flat_provenance,
    interval_text,
    number_text,
    page_environment,
    style_sheet,
)
from lungdet.evaluation.report import WrittenReport

logger = logging.getLogger(__name__)

_SCOPE_TITLES = {"whole_volume": "Whole volume", "crop_level": "Crop level: around nodules"}
_SCOPE_NAMES = {"whole_volume": "whole volume", "crop_level": "crop level"}
_SCOPE_EXPLANATIONS = {
    "whole_volume": "Every voxel of the scans counts, wherever it lies.",
    "crop_level": "Only voxels count that lie where a training crop around an annotated nodule lies.",
}
_HISTORY = (
    ("loss", "min", "Loss"),
    ("dice", "max", "Dice: training over augmented crops, validation over whole volumes"),
    ("crop_dice", "max", "Dice of validation around nodules, which is what training crops show"),
    ("average_precision", "max", "Average precision: training over augmented crops, validation over whole volumes"),
)
_SCANS_SHOWN = 40


def write_mask_report(report: MaskReport, folder: Path | str) -> WrittenReport:
    """Write all files of a report.

    The same report gives the same bytes: keys are sorted, floats rounded to 12 digits, nothing holds a time.

    Args:
        report: from `evaluate_masks`.
        folder: made if missing; files of an earlier report are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = WrittenReport(folder / "report.json", folder / "report.html", folder / "curves.parquet")
    text = json.dumps(report.to_dict(), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    written.json.write_text(text + "\n", encoding="utf-8")
    curves = pa.Table.from_pandas(report.curves, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(curves, written.curves, compression="zstd")
    written.html.write_text(render_mask_html(report), encoding="utf-8")
    logger.info("report: %s", written.html)
    return written


def render_mask_html(report: MaskReport) -> str:
    """The report as one HTML page that refers to nothing outside itself."""
    environment = page_environment()
    history = list(_history_figures(report))
    ceiling = report.ceiling.get(report.partition)
    return environment.get_template("masks.html.j2").render(
        report=report,
        css=style_sheet(environment),
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
        provenance=list(flat_provenance(report.provenance)),
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


def _tiles(report: MaskReport) -> list[dict[str, str]]:
    scopes = report.results[report.partition]
    shown = [
        ("Dice, whole volume", scopes["whole_volume"].at_half.dice),
        ("Dice, crop level", scopes["crop_level"].at_half.dice),
        ("Average precision", scopes["whole_volume"].average_precision),
    ]
    tiles = [
        {
            "name": name,
            "value": number_text(e.value),
            "note": e.reason if math.isnan(e.low) else f"95 % interval {interval_text(e)}",
        }
        for name, e in shown
    ]
    ceiling = report.ceiling.get(report.partition)
    if ceiling is None:
        value, note = EN_DASH, "not measured"
    elif not ceiling.n_scans:
        value, note = EN_DASH, "no readers: masks follow from the annotations' rule"
    else:
        several = "" if ceiling.n_nodules == 1 else "s"
        value = number_text(ceiling.pooled_dice.value)
        note = f"the ceiling, of {ceiling.n_nodules:,} nodule{several}" if ceiling.n_nodules else "no common nodule"
    return [*tiles, {"name": "Dice, reader against reader", "value": value, "note": note}]


def _sections(report: MaskReport, *, trained: bool) -> list[tuple[str, str]]:
    listed = [
        ("findings", "Read this first", bool(report.findings)),
        ("data", "Data", True),
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


def _history_figures(report: MaskReport) -> Iterator[dict[str, Any]]:
    if report.history is None:
        return
    for quantity, best, caption in _HISTORY:
        if {f"train/{quantity}", f"val/{quantity}"} & set(report.history.columns):
            yield embedded_figure(
                f"history-{quantity.replace('_', '-')}",
                history_figure(report.history, quantity, best=best),
                f"{caption}, by epoch; the marked dot is the best validation epoch.",
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
        scans = "scan" if summary.without_nodule == 1 else "scans"
        parts.append(
            f"Of {summary.without_nodule:,} {scans} without a nodule voxel, {summary.marked_without_nodule:,} "
            f"{'has' if summary.marked_without_nodule == 1 else 'have'} voxels called: {summary.fp_voxels_median:,.0f} "
            f"in the middle one, {summary.fp_voxels_largest:,} in the worst."
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
