"""The curve's picture: axes as the challenge draws them, the curve itself, band and mean where there are resamples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection

from lungdet.evaluation.froc_figures import OFFICIAL_FPS, PAGE_FPS, froc_figure
from lungdet.metrics.froc import FrocResult, evaluate_froc


def result(n_bootstraps: int) -> FrocResult:
    columns = ["series_uid", "center_x_mm", "center_y_mm", "center_z_mm"]
    nodules = pd.DataFrame([("a", 0.0, 0.0, 0.0), ("b", 0.0, 0.0, 0.0)], columns=columns).assign(diameter_mm=10.0)
    marks = pd.DataFrame([("a", 0.0, 0.0, 0.0), ("a", 50.0, 0.0, 0.0), ("b", 0.0, 0.0, 0.0)], columns=columns)
    marks = marks.assign(probability=[0.9, 0.5, 0.1])
    return evaluate_froc(nodules, nodules.iloc[:0], ["a", "b"], marks, n_bootstraps=n_bootstraps)


def test_axes_are_logarithmic_from_an_eighth_to_eight() -> None:
    figure = froc_figure({"mine": result(20)})
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim() == (0.125, 8)
    assert axes.get_ylim() == (0, 1)
    figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1/8", "1/4", "1/2", "1", "2", "4", "8"]


def test_the_official_grids() -> None:
    """10,001 points for the plot (the bootstrap's grid has 10,000)."""
    assert len(OFFICIAL_FPS) == 10001
    assert (OFFICIAL_FPS[0], OFFICIAL_FPS[-1]) == (0.125, 8)
    assert PAGE_FPS[[0, -1]].tolist() == pytest.approx([0.125, 8])


def test_curve_points_mean_and_band() -> None:
    """Two nodules, .9 before and .1 after the one false positive in 2 scans: 1/2 below 0.5 per scan, then 1."""
    shown = result(20)
    axes: Any = froc_figure({"mine": shown}).axes[0]
    curve, points, mean = axes.get_lines()
    np.testing.assert_array_equal(curve.get_ydata(), np.where(OFFICIAL_FPS < 0.5, 0.5, 1))
    assert points.get_xydata()[:, 1].tolist() == [0.5, 0.5, 1, 1, 1, 1, 1]
    assert shown.bootstrap is not None
    np.testing.assert_allclose(mean.get_ydata()[[0, -1]], shown.bootstrap.mean[[0, -1]])
    assert len([c for c in axes.collections if isinstance(c, PolyCollection)]) == 1
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"mine: CPM {shown.cpm:.3f}",
        "mean of the resamples, 95 % interval",
    ]


def test_without_resamples_no_band() -> None:
    axes = froc_figure({"mine": result(0)}).axes[0]
    assert len(axes.get_lines()) == 2
    assert not axes.collections


def test_two_submissions_have_two_colours_and_no_means() -> None:
    axes = froc_figure({"mine": result(20), "other": result(20)}, fps=PAGE_FPS).axes[0]
    first, _, second, _ = axes.get_lines()
    assert first.get_color() != second.get_color()
    assert len(axes.collections) == 2
