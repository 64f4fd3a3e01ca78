"""What is drawn for two and for many runs, read back from the figures."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lungdet.comparison.figures import (
    froc_figure,
    interval_figure,
    learning_figure,
    precision_recall_figure,
    roc_figure,
)
from lungdet.evaluation.estimates import Estimate

CURVE = pd.DataFrame({"x": [0.0, 0.5, 1.0], "y": [0.0, 0.8, 1.0]})


def axes_of(figure: Figure) -> Axes:
    (axes,) = figure.axes
    return axes


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def dots(axes: Axes) -> list[tuple[Any, Any]]:
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o"]  # type: ignore[index]


def test_a_roc_line_a_run_over_the_diagonal_and_its_points() -> None:
    points = {"b": [(0.5, 0.8), (math.nan, 0.5)]}
    axes = axes_of(roc_figure({"a": CURVE, "b": CURVE}, points))
    assert legend(axes) == ["a", "b"]
    assert dots(axes) == [(0.5, 0.8)], "a threshold that could not be chosen has no dot"
    assert list(axes.lines[0].get_xdata()) == [0, 1]  # type: ignore[arg-type]
    assert axes.get_xlim() == (-0.02, 1.02)


def test_precision_of_guessing_is_a_line() -> None:
    axes = axes_of(precision_recall_figure({"a": CURVE}, {}, prevalence=0.1))
    assert list(axes.lines[0].get_ydata()) == [0.1, 0.1]  # type: ignore[arg-type]
    assert axes.get_ylabel() == "Precision"


def test_rates_of_froc_are_those_of_the_challenge() -> None:
    axes = axes_of(froc_figure({"a": CURVE}, y="Sensitivity per nodule", x="scan"))
    assert axes.get_xlabel() == "False positives per scan"
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == (0.125, 8)
    assert list(axes.get_xticks()) == [0.125, 0.25, 0.5, 1, 2, 4, 8]


def test_more_runs_than_colours_differ_in_their_dashes() -> None:
    axes = axes_of(froc_figure({str(n): CURVE for n in range(8)}))
    looks = [(line.get_color(), str(line.get_linestyle()), line.is_dashed()) for line in axes.lines]
    assert looks[0][0] == looks[5][0]
    assert len(set(looks)) == 8


def test_learning_skips_epochs_and_runs_without_the_quantity() -> None:
    one = pd.DataFrame({"epoch": [0, 1, 2], "val/auroc": [0.5, math.nan, 0.75]})
    axes = axes_of(learning_figure({"a": one, "b": one.drop(columns="val/auroc")}, "val/auroc", title="AUROC"))
    assert legend(axes) == ["a"]
    assert list(axes.lines[0].get_ydata()) == [0.5, 0.75]  # type: ignore[arg-type]
    assert axes.lines[0].get_marker() == "o"
    long = pd.DataFrame({"epoch": range(40), "val/auroc": 0.5})
    assert axes_of(learning_figure({"a": long}, "val/auroc", title="AUROC")).lines[0].get_marker() == "None"
    assert legend(axes_of(learning_figure({}, "val/auroc", title="AUROC"))) == []


def test_long_names_stand_below_each_other() -> None:
    narrow, wide = (axes_of(roc_figure({name: CURVE, "b": CURVE}, {})).get_legend() for name in ("a" * 28, "a" * 29))
    assert narrow is not None
    assert wide is not None
    assert (narrow._ncols, wide._ncols) == (2, 1)  # type: ignore[attr-defined]


def test_intervals_from_top_to_bottom() -> None:
    estimates = {"a": Estimate(0.7, 0.6, 0.8), "b": Estimate(0.5, reason="r"), "c": Estimate(math.nan, reason="r")}
    axes = axes_of(interval_figure(estimates, title="AUROC"))
    assert dots(axes) == [(0.7, 0), (0.5, 1)]
    assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "None"] == [[0.6, 0.8]]  # type: ignore[arg-type]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.get_ylim() == pytest.approx((2.5, -0.5)), "the first on top"
