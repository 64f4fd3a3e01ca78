"""Figures draw what they are given, and survive what is missing."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from lungdet.evaluation import figures
from lungdet.evaluation.estimates import Estimate

LINE = pd.DataFrame({"x": [0.0, 0.0, 1.0], "y": [0.0, 0.5, 1.0]})
NAN = Estimate(math.nan)


def texts(figure: Figure) -> list[str]:
    axes = figure.axes[0]
    legend = axes.get_legend()
    return [t.get_text() for t in axes.texts] + ([] if legend is None else [t.get_text() for t in legend.get_texts()])


def test_curves_are_named_and_points_that_exist_are_marked() -> None:
    figure = figures.roc_figure({"model": LINE, "baseline": LINE}, {"0.5": (0.1, 0.5), "none": (math.nan, math.nan)})
    assert texts(figure) == ["0.5", "model", "baseline"]
    axes = figure.axes[0]
    drawn = [line for line in axes.lines if line.get_label() == "model"]
    np.testing.assert_array_equal(drawn[0].get_xdata(), LINE["x"])
    assert axes.get_ylabel() == "Sensitivity (recall)"


def test_points_in_one_place_share_one_label() -> None:
    figure = figures.roc_figure({"model": LINE}, {"F1": (0.1, 0.5), "Youden": (0.1, 0.5), "0.5": (0.2, 0.5)})
    assert texts(figure) == ["F1, Youden", "0.5", "model"]


def test_precision_recall_shows_what_guessing_gives() -> None:
    figure = figures.precision_recall_figure({"model": LINE}, {"a": (0.9, 0.2), "b": (0.1, 0.99)}, prevalence=0.028)
    assert texts(figure) == ["guessing: 0.028", "b", "a", "model"]
    assert any(np.allclose(line.get_ydata(), 0.028) for line in figure.axes[0].lines)


@pytest.mark.parametrize("draw", ["roc", "precision_recall"])
def test_names_of_close_points_do_not_overlap(draw: str) -> None:
    """Five thresholds of a strong model lie within a few hundredths of the corner."""
    points = {f"point {i}": (0.97 + 0.005 * i, 0.99 - 0.004 * i) for i in range(5)}
    if draw == "roc":
        figure = figures.roc_figure({"model": LINE}, {name: (1 - x, 1.94 - y) for name, (x, y) in points.items()})
    else:
        figure = figures.precision_recall_figure({"model": LINE}, points, prevalence=0.7)
    figure.draw_without_rendering()
    # Of the words alone: an annotation counts its leader, too.
    boxes = [Text.get_window_extent(t) for t in figure.axes[0].texts if t.get_text().startswith("point")]
    assert len(boxes) == 5
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("thresholds", [{"low": -3.0, "high": 1.0}, {"low": 2.0, "high": 3.0}, {}])
def test_threshold_names_stand_on_lines_of_different_height(thresholds: dict[str, float]) -> None:
    histogram = pd.DataFrame({"low": [-4, 0], "high": [0, 4], "negatives": [8, 2], "positives": [0, 5]})
    figure = figures.score_figure(histogram, thresholds)
    axes = figure.axes[0]
    lines = {float(np.ravel(line.get_xdata())[0]): float(np.ravel(line.get_ydata())[1]) for line in axes.lines}
    assert set(lines) == set(thresholds.values())
    assert len(set(lines.values())) == len(thresholds)
    assert max(lines.values(), default=0) < axes.get_ylim()[1]
    assert "no nodule (n = 10)" in texts(figure)


def test_a_class_without_rows_is_left_out_of_the_scores() -> None:
    histogram = pd.DataFrame({"low": [-4, 0], "high": [0, 4], "negatives": [8, 2], "positives": [0, 0]})
    assert texts(figures.score_figure(histogram, {})) == ["no nodule (n = 10)"]


def test_reliability_counts_its_points() -> None:
    bins = pd.DataFrame({"mean_probability": [0.1, 0.8], "observed_fraction": [0.05, 1.0], "n_rows": [1200, 3]})
    assert texts(figures.reliability_figure(bins)) == ["1,200", "3"]


def test_sizes_without_nodules_keep_their_place() -> None:
    rows = [
        {"name": "3-6 mm", "n": 4, "estimate": Estimate(0.5, 0.2, 0.8)},
        {"name": "6-10 mm", "n": 1, "estimate": Estimate(1.0)},
        {"name": ">= 30 mm", "n": 0, "estimate": NAN},
    ]
    axes = figures.size_figure(rows).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "3-6 mm\nn = 4",
        "6-10 mm\nn = 1",
        "≥ 30 mm\nn = 0",
    ]
    assert len(axes.lines) == 3  # two dots and one interval


@pytest.mark.parametrize(("best", "expected"), [("min", "0.200 in epoch 1"), ("max", "0.400 in epoch 0")])
def test_history_marks_the_best_validation_epoch(best: str, expected: str) -> None:
    history = pd.DataFrame({"epoch": [0, 1, 2], "train/loss": [0.5, 0.3, 0.1], "val/loss": [0.4, 0.2, math.nan]})
    figure = figures.history_figure(history, "loss", best=best)
    assert texts(figure) == ["training", f"validation, best {expected}"]
    assert figure.axes[0].get_ylabel() == "Loss"


def test_history_with_one_stage_only() -> None:
    history = pd.DataFrame({"epoch": range(60), "val/auroc": np.linspace(0.5, 0.9, 60), "train/auroc": math.nan})
    figure = figures.history_figure(history, "auroc", best="max")
    assert texts(figure) == ["validation, best 0.900 in epoch 59"]
    assert figure.axes[0].get_ylabel() == "AUROC"
    assert figures.history_figure(history, "average_precision", best="max").axes[0].get_ylabel() == "Average precision"
