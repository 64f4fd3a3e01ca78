"""Figures with one line a run: ROC, precision-recall, FROC, learning curves, and intervals side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.style import COLORS, SERIES_COLORS, figure_style
from lungdet.metrics.froc_curve import FP_RATES

_SIZE = (5.2, 4.3)
_WIDE = (5.2, 3.3)
_LINE_STYLES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
_COLORS = (COLORS["accent"], *SERIES_COLORS)
_RATE_NAMES = ("1/8", "1/4", "1/2", "1", "2", "4", "8")

Curves = Mapping[str, pd.DataFrame]
Points = Mapping[str, Sequence[tuple[float, float]]]


def roc_figure(curves: Curves, points: Points) -> Figure:
    """Sensitivity over false-positive rate.

    Args:
        curves: run -> columns x and y.
        points: run -> where its thresholds lie on its curve.
    """
    with figure_style():
        figure, axes = _canvas(_SIZE)
        axes.plot([0, 1], [0, 1], color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
        _lines(axes, curves, points)
        _unit_square(axes, "False-positive rate (1 - specificity)", "Sensitivity (recall)")
    return figure


def precision_recall_figure(curves: Curves, points: Points, *, prevalence: float) -> Figure:
    """Precision over recall, with the precision of guessing as a line. Arguments as for `roc_figure`."""
    with figure_style():
        figure, axes = _canvas(_SIZE)
        axes.axhline(prevalence, color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
        _lines(axes, curves, points)
        _unit_square(axes, "Recall (sensitivity)", "Precision")
    return figure


def froc_figure(curves: Curves, *, y: str = "Sensitivity per candidate", x: str = "series") -> Figure:
    """Sensitivity over false positives per series, 1/8 to 8.

    Args:
        curves: run -> columns x and y.
        y: what is found.
        x: what false positives are counted per.
    """
    with figure_style():
        figure, axes = _canvas(_SIZE)
        _lines(axes, curves, {})
        axes.set_xscale("log", base=2)
        axes.set_xlim(FP_RATES[0], FP_RATES[-1])
        axes.set_ylim(-0.02, 1.02)
        axes.xaxis.set_major_locator(FixedLocator(FP_RATES))
        axes.xaxis.set_major_formatter(FixedFormatter(_RATE_NAMES))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"False positives per {x}")
        axes.set_ylabel(y)
    return figure


def learning_figure(histories: Mapping[str, pd.DataFrame], quantity: str, *, title: str) -> Figure:
    """One logged quantity over epochs.

    Args:
        histories: run -> column epoch, and the quantity where the run logged it.
        quantity: a column, e.g. `val/auroc`.
        title: of the y axis.
    """
    with figure_style():
        figure, axes = _canvas(_WIDE)
        for i, (name, history) in enumerate(histories.items()):
            if quantity not in history:
                continue
            points = history[["epoch", quantity]].dropna()
            marker = "o" if len(points) < 40 else None
            axes.plot(points["epoch"], points[quantity], marker=marker, markersize=3, label=name, **_look(i))
        axes.set_xlabel("Epoch")
        axes.set_ylabel(title)
        axes.locator_params(axis="x", integer=True)
        _legend(axes)
    return figure


def interval_figure(estimates: Mapping[str, Estimate], *, title: str) -> Figure:
    """The value of each run with its interval, one below the other.

    Args:
        estimates: run -> estimate; a value that does not exist is an empty line.
        title: of the x axis.
    """
    with figure_style():
        figure, axes = _canvas((_WIDE[0], 0.9 + 0.38 * len(estimates)))
        for i, estimate in enumerate(estimates.values()):
            color = _COLORS[i % len(_COLORS)]
            if np.isfinite(estimate.low):
                axes.plot([estimate.low, estimate.high], [i, i], color=color, linewidth=1.8)
            if np.isfinite(estimate.value):
                axes.plot([estimate.value], [i], "o", color=color, markersize=6.5)
        axes.set_yticks(range(len(estimates)), list(estimates))
        axes.set_ylim(len(estimates) - 0.5, -0.5)
        axes.set_xlabel(title)
        axes.grid(visible=False, axis="y")
    return figure


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def _look(i: int) -> dict[str, Any]:
    """Colour and dashes of the i-th run: with more runs than colours, dashes tell them apart."""
    return {"color": _COLORS[i % len(_COLORS)], "linestyle": _LINE_STYLES[(i // len(_COLORS)) % len(_LINE_STYLES)]}


def _lines(axes: Axes, curves: Curves, points: Points) -> None:
    for i, (name, curve) in enumerate(curves.items()):
        look = _look(i)
        axes.plot(curve["x"], curve["y"], linewidth=1.6, label=name, **look)
        for x, y in points.get(name, ()):
            if np.isfinite(x) and np.isfinite(y):
                axes.plot([x], [y], "o", color=_COLORS[i % len(_COLORS)], markersize=5, zorder=5)
    _legend(axes)


def _legend(axes: Axes) -> None:
    """Above the axes: names are long, and curves fill every corner."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        columns = 1 if max(map(len, names)) > 28 else 2
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.2)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
