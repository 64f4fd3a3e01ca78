"""The figures of an explained case: what its best parts are worth, and the probability while parts go or come back."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lungdet.evaluation.style import COLORS, figure_style

_CASE_SIZE = (7.2, 3.9)
_WIDE = (5.2, 3.1)
_ORDERS = {"most_first": ("most important first", "accent"), "least_first": ("least important first", "second")}


def case_figure(regions: pd.DataFrame, curves: pd.DataFrame, *, n_bars: int, unit: str) -> Figure:
    """Bars of the most important parts beside the curves of deletion and insertion.

    Args:
        regions: see `region_table`.
        curves: columns change, order, share, score.
        n_bars: how many parts.
        unit: what importance is.
    """
    with figure_style():
        figure = Figure(figsize=_CASE_SIZE, layout="constrained")
        bars, deletion, insertion = figure.subplot_mosaic([["bars", "deletion"], ["bars", "insertion"]]).values()
        _draw_bars(bars, regions.tail(n_bars), unit)
        for axes, change, title in (
            (deletion, "deletion", "taken away"),
            (insertion, "insertion", "put back"),
        ):
            _draw_curves(axes, curves[curves["change"] == change])
            axes.set_ylabel("p(true class)")
            axes.set_title(f"Parts {title}", fontsize=9.5, loc="left", color=COLORS["muted"])
        deletion.legend(loc="best", fontsize=8)
        insertion.set_xlabel("share of the image changed")
    return figure


def gain_figure(measured: pd.DataFrame, classes: tuple[str, str]) -> Figure:
    """Area under the deletion curve over that of random orders, one dot a case: below the line is better than chance.

    Args:
        measured: columns label, most_first, random.
        classes: names in label order.
    """
    with figure_style():
        figure = Figure(figsize=_WIDE, layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
        for label, color in ((0, "second"), (1, "accent")):
            rows = measured[measured["label"] == label]
            if len(rows):
                axes.scatter(
                    rows["random"], rows["most_first"], s=18, alpha=0.7, linewidths=0, color=COLORS[color],
                    label=f"{classes[label]} (n = {len(rows)})",
                )  # fmt: skip
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("Area, random order")
        axes.set_ylabel("Area, most important first")
        axes.legend(loc="upper left")
    return figure


def _draw_bars(axes: Axes, best: pd.DataFrame, unit: str) -> None:
    values = best["importance"].to_numpy(np.float64)
    colors = [COLORS["accent"] if value >= 0 else COLORS["second"] for value in values]
    places = np.arange(len(best))
    axes.barh(places, values, color=colors, height=0.7)
    order = range(len(best), 0, -1)
    names = zip(order, best["name"], best["area_percent"], strict=True)
    axes.set_yticks(places, [f"{n} · {name} ({area:.1f} %)" for n, name, area in names])
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=COLORS["muted"], linewidth=0.8)
    axes.set_xlabel(unit)
    axes.locator_params(axis="x", nbins=4)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3))


def _draw_curves(axes: Axes, curves: pd.DataFrame) -> None:
    random = curves[curves["order"].str.startswith("random")]
    for n, (_, curve) in enumerate(random.groupby("order", sort=False)):
        label = "random order" if n == 0 else None
        axes.plot(curve["share"], curve["score"], color=COLORS["muted"], linewidth=0.9, alpha=0.6, label=label)
    for order, (name, color) in _ORDERS.items():
        curve = curves[curves["order"] == order]
        axes.plot(curve["share"], curve["score"], color=COLORS[color], label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.03, 1.03)
