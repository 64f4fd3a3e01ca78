"""The FROC figure: sensitivity over false positives per scan, from 1/8 to 8, with the bootstrap's mean and band."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MultipleLocator, NullFormatter, NullLocator

from lungdet.evaluation.style import COLORS, SERIES_COLORS, figure_style
from lungdet.metrics.froc import FrocResult
from lungdet.metrics.froc_bootstrap import CURVE_FPS
from lungdet.metrics.froc_curve import FP_RATES

# The official script's grid for the curve; its bootstrap has one point less.
OFFICIAL_FPS = np.linspace(FP_RATES[0], FP_RATES[-1], num=10001)
# Evenly spaced on the axis: looks the same and keeps the page small.
PAGE_FPS = np.geomspace(FP_RATES[0], FP_RATES[-1], num=801)
_RATE_NAMES = ("1/8", "1/4", "1/2", "1", "2", "4", "8")


def froc_figure(results: Mapping[str, FrocResult], *, fps: npt.NDArray[np.float64] = OFFICIAL_FPS) -> Figure:
    """Draw one or several submissions.

    Args:
        results: name -> result; the first is drawn in the accent colour. The band is the 95 % interval at each rate,
            the dots are the seven points that the CPM averages, the dashed line is the mean of the resamples (drawn for
            a single submission only).
        fps: where the curves are looked up.
    """
    with figure_style():
        figure = Figure(figsize=(5.6, 4.3), layout="constrained")
        axes = figure.add_subplot()
        for i, (name, result) in enumerate(results.items()):
            color = COLORS["accent"] if i == 0 else SERIES_COLORS[(i - 1) % len(SERIES_COLORS)]
            label = name if math.isnan(result.cpm) else f"{name}: CPM {result.cpm:.3f}"
            axes.plot(fps, result.curve.sensitivity_at(fps), color=color, label=label)
            points = list(result.sensitivity_at.values())
            axes.plot(FP_RATES, points, "o", color=color, markersize=4, clip_on=False, zorder=3)
            if result.bootstrap is None:
                continue
            mean, lower, upper = (
                np.interp(fps, CURVE_FPS, curve)
                for curve in (result.bootstrap.mean, result.bootstrap.lower, result.bootstrap.upper)
            )
            axes.fill_between(fps, lower, upper, color=color, alpha=0.15, linewidth=0)
            if len(results) == 1:
                dashes = (0, (3, 2))
                label = "mean of the resamples, 95 % interval"
                axes.plot(fps, mean, color=COLORS["ink"], linewidth=0.9, linestyle=dashes, label=label)
        axes.set_xscale("log", base=2)
        axes.set_xlim(FP_RATES[0], FP_RATES[-1])
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(FixedLocator(FP_RATES))
        axes.xaxis.set_major_formatter(FixedFormatter(_RATE_NAMES))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.yaxis.set_major_locator(MultipleLocator(0.1))
        axes.set_xlabel("Average number of false positives per scan")
        axes.set_ylabel("Sensitivity")
        axes.legend(loc="lower right")
    return figure
