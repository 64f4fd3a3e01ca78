"""A comparison as one HTML page that refers to nothing outside itself, in the look of the reports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from lungdet.comparison import figures
from lungdet.comparison.digits import p_text, signed
from lungdet.comparison.disagreement import Disagreement
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.wording import (
    GROUP_NAMES,
    counts_of,
    lead_of,
    method_of,
    threshold_name,
    title_of,
    verdict_name,
)
from lungdet.evaluation.page import EN_DASH, Tile, estimate_tile, page_environment
from lungdet.evaluation.page_figures import embedded_figure
from lungdet.evaluation.pictures import shown_picture
from lungdet.evaluation.views import LUNG_WINDOW_HU

_CROSSHAIR_GAP = 0.11
_MOST_TILES = 4
# Details of more pairs than these are folded away.
_OPEN_PAIRS = 3
_LEARNED = (
    ("val/auroc", "AUROC on validation"),
    ("val/average_precision", "Average precision on validation"),
    ("val/dice", "Dice on validation"),
    ("val/loss", "Loss on validation"),
    ("train/loss", "Loss in training"),
)


def render_page(report: ComparisonReport) -> str:
    """The page; the same report gives the same characters."""
    environment = page_environment("lungdet.comparison")
    environment.filters.update(signed_digits=signed, p=p_text, verdict=verdict_name)
    curves = list(_curve_figures(report))
    learning = list(_learning_figures(report))
    return environment.get_template("compare.html.j2").render(
        report=report,
        title=title_of(report),
        lead=lead_of(report),
        counts=counts_of(report),
        tiles=_tiles(report),
        sections=_sections(report, curves=bool(curves), learning=bool(learning)),
        overview=_overview(report),
        curve_figures=curves,
        learning_figures=learning,
        disagreements={group: [_card(item) for item in items] for group, items in report.disagreements.items()},
        threshold_names={key: threshold_name(key) for chosen in report.thresholds.values() for key in chosen},
        group_names=GROUP_NAMES,
        fp_rates=list(next(iter(report.froc_at.values()), {})),
        opened=len(report.pairs) <= _OPEN_PAIRS,
        method=list(method_of(report)),
        window=LUNG_WINDOW_HU,
    )


def _tiles(report: ComparisonReport) -> list[Tile]:
    if len(report.names) > _MOST_TILES:
        return []
    measure = report.headline
    return [
        estimate_tile(f"{measure.title}, {name}", report.results[name][measure.key], measure.digits)
        for name in report.names
    ]


def _sections(report: ComparisonReport, *, curves: bool, learning: bool) -> list[tuple[str, str]]:
    listed = [
        ("verdicts", "Verdicts", True),
        ("measures", "Measures", True),
        ("differences", "Differences", True),
        ("curves", "Curves", curves),
        ("training", "Training", learning),
        ("settings", "Settings", True),
        ("disagreements", "Disagreements", bool(report.disagreements)),
        ("method", "Method", True),
    ]
    return [(anchor, name) for anchor, name, shown in listed if shown]


def _overview(report: ComparisonReport) -> dict[str, Any]:
    measure = report.headline
    estimates = {name: report.results[name][measure.key] for name in report.names}
    return embedded_figure(
        "overview",
        figures.interval_figure(estimates, title=measure.title),
        f"{measure.title} with 95 % intervals. Whether two runs differ is not seen here: intervals that overlap may "
        "belong to a clear paired difference.",
    )


def _curve_figures(report: ComparisonReport) -> Iterator[dict[str, Any]]:
    if report.curves.empty:
        return
    by_curve = {str(name): part for name, part in report.curves.groupby("curve", sort=False)}
    if "roc" in by_curve:
        dots = " Dots: where each run calls, at " + " and ".join(
            threshold_name(name) for name in next(iter(report.points.values()), {})
        )
        yield embedded_figure(
            "roc",
            figures.roc_figure(_by_run(by_curve["roc"]), _points(report, "roc")),
            f"ROC curves.{dots} (chosen on its own validation rows); the diagonal is guessing.",
        )
        yield embedded_figure(
            "precision-recall",
            figures.precision_recall_figure(
                _by_run(by_curve["precision_recall"]),
                _points(report, "precision_recall"),
                prevalence=report.prevalence,
            ),
            "Precision-recall curves; the dotted line is guessing.",
        )
    if "froc" in by_curve:
        yield embedded_figure(
            "froc",
            figures.froc_figure(_by_run(by_curve["froc"])),
            "FROC counted in candidates: every positive candidate is one thing to find, and series without candidates "
            "are not counted. The challenge's curve, over whole scans, is that of lungdet detect.",
        )
    if "froc_scans" in by_curve:
        yield embedded_figure(
            "froc",
            figures.froc_figure(_by_run(by_curve["froc_scans"]), y="Sensitivity per nodule", x="scan"),
            "FROC by the rules of the LUNA16 challenge.",
        )


def _learning_figures(report: ComparisonReport) -> Iterator[dict[str, Any]]:
    for quantity, title in _LEARNED:
        if any(quantity in history for history in report.histories.values()):
            yield embedded_figure(
                "learning-" + quantity.replace("/", "-").replace("_", "-"),
                figures.learning_figure(report.histories, quantity, title=title),
                f"{title} by epoch.",
            )


def _by_run(curve: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {str(name): rows for name, rows in curve.groupby("run", sort=False)}


def _points(report: ComparisonReport, curve: str) -> dict[str, Sequence[tuple[float, float]]]:
    return {name: [at[curve] for at in points.values()] for name, points in report.points.items()}


def _card(item: Disagreement) -> dict[str, Any]:
    row = item.row
    diameter = row["diameter_mm"]
    return {
        "views": [shown_picture(view, gap=_CROSSHAIR_GAP) for view in item.views],
        "problem": item.problem,
        "size": f"{diameter:.1f} mm" if math.isfinite(diameter) else EN_DASH,
        "center": ", ".join(f"{row[f'center_{axis}_mm']:.1f}" for axis in "xyz"),
        "row": row,
        "probability": item.probability,
        "percentile": item.percentile,
        "spread": item.spread,
    }
