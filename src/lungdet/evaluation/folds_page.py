"""The folds of a cross-validation on the page of its report: a table, and dots with intervals beside pooled values."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.page import number_text
from lungdet.evaluation.page_figures import embedded_figure
from lungdet.evaluation.results import ClassificationReport, FoldResult
from lungdet.evaluation.style import COLORS, figure_style

_NAMES = {"auroc": "AUROC", "average_precision": "Average precision"}


def folds_table(report: ClassificationReport) -> dict[str, Any]:
    """What the template shows: `columns` (key, title, digits), `rows`, `mean`, `sd` and `pooled` texts by key."""
    folds = report.folds
    assert folds is not None, "only called with several folds"
    scale = "calibrated" if folds.is_calibrated else "raw"
    titles = {**_NAMES, "brier": f"Brier, {scale}", "sensitivity": "Sensitivity"}
    digits = {"auroc": 3, "average_precision": 3, "brier": 4, "sensitivity": 2}
    pooled = pooled_estimates(report)
    return {
        "columns": [(key, titles[key], digits[key]) for key in FoldResult.ESTIMATES],
        "rows": folds.folds,
        "mean": {key: number_text(folds.spread[key].mean, digits[key]) for key in titles},
        "sd": {key: number_text(folds.spread[key].sd, digits[key]) for key in titles},
        "pooled": pooled,
    }


def pooled_estimates(report: ClassificationReport) -> dict[str, Estimate]:
    """The same quantities over the rows of all folds together, for `FoldResult.ESTIMATES`."""
    ranking, judged = report.ranking[report.partition], report.calibrated or report.calibration
    point = report.operating_points[report.aim]
    reason = point.threshold.reason
    return {
        "auroc": ranking.auroc,
        "average_precision": ranking.average_precision,
        "brier": judged[report.partition].brier,
        "sensitivity": point.on[report.partition].recall
        if report.partition in point.on
        else Estimate(float("nan"), reason=reason),
    }


def folds_figure(report: ClassificationReport) -> dict[str, Any]:
    """AUROC and average precision of each fold with intervals; lines are the pooled value and the mean."""
    assert report.folds is not None, "only called with several folds"
    return embedded_figure(
        "folds",
        draw_folds(report),
        "Each fold with its 95 % interval. The solid line is the value over the rows of all folds together, the dashed "
        "line the mean of the folds.",
    )


def draw_folds(report: ClassificationReport) -> Figure:
    """The figure of `folds_figure`, one panel a quantity."""
    folds, pooled = report.folds, pooled_estimates(report)
    assert folds is not None, "only called with several folds"
    with figure_style():
        figure = Figure(figsize=(10.4, 3.1), layout="constrained")
        for axes, key in zip(figure.subplots(1, len(_NAMES)), _NAMES, strict=True):
            for at, fold in enumerate(folds.folds):
                estimate: Estimate = getattr(fold, key)
                axes.plot([at], [estimate.value], "o", color=COLORS["accent"], markersize=6)
                axes.plot([at, at], [estimate.low, estimate.high], color=COLORS["accent"], linewidth=1.6)
            axes.axhline(pooled[key].value, color=COLORS["ink"], linewidth=1.0)
            axes.axhline(folds.spread[key].mean, color=COLORS["second"], linewidth=1.0, linestyle=(0, (4, 2)))
            axes.set_xticks(range(len(folds.folds)), [f"fold {fold.fold}" for fold in folds.folds])
            axes.set_xlim(-0.5, len(folds.folds) - 0.5)
            axes.set_title(_NAMES[key])
            axes.grid(visible=False, axis="x")
    return figure
