"""The figures of a segmentation report; each takes plain tables and gives a matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lungdet.evaluation.style import COLORS, SERIES_COLORS, figure_style

_SIZE = (5.2, 4.1)
_TICKS = (-64, -16, -4, 0, 4, 16, 64)


def dice_figure(curves: Mapping[str, pd.DataFrame], thresholds: Mapping[str, float]) -> Figure:
    """Dice over the threshold; the axis is as wide for every bin of logits.

    Args:
        curves: name -> columns logit, dice; the first is the one that is quoted.
        thresholds: name -> logit, marked by a dashed line.
    """
    with figure_style():
        figure, axes = _canvas()
        for (name, curve), color in zip(curves.items(), _colors(), strict=False):
            known = curve[np.isfinite(curve["logit"])]
            axes.plot(_place(known["logit"].to_numpy()), known["dice"], color=color, label=name)
        for level, (name, logit) in enumerate(sorted(thresholds.items(), key=lambda item: item[1])):
            at = float(_place(np.array([logit]))[0])
            axes.plot([at, at], [0, 1.02 + 0.07 * level], color=COLORS["ink"], linewidth=0.9, linestyle=(0, (4, 2)))
            axes.annotate(name, (at, 1.02 + 0.07 * level), xytext=(4, -7), textcoords="offset points", fontsize=8.5)
        axes.set_xticks(
            _place(np.array(_TICKS, dtype=np.float64)), [f"{tick}".replace("-", "\u2212") for tick in _TICKS]
        )
        axes.set_xlim(-1.02, 1.02)
        axes.set_ylim(-0.02, 1.02 + 0.07 * max(1, len(thresholds)))
        axes.set_xlabel("Threshold on the logit (0 is probability 0.5)")
        axes.set_ylabel("Dice")
        _legend(axes)
    return figure


def voxel_precision_recall_figure(
    curves: Mapping[str, pd.DataFrame], points: Mapping[str, tuple[float, float]]
) -> Figure:
    """Precision over recall of voxels; a dot stands for a threshold between two bins.

    Args:
        curves: name -> columns recall, precision; the first is the one that is quoted.
        points: name -> (recall, precision) to mark on the first.
    """
    with figure_style():
        figure, axes = _canvas()
        for (name, curve), color in zip(curves.items(), _colors(), strict=False):
            known = curve.dropna(subset=["precision", "recall"])
            axes.plot(known["recall"], known["precision"], color=color, marker="o", markersize=2.5, label=name)
        for name, (recall, precision) in points.items():
            if np.isfinite(recall) and np.isfinite(precision):
                axes.plot([recall], [precision], "o", color=COLORS["ink"], markersize=5, zorder=5)
                left, up = recall > 0.9, precision < 0.9
                axes.annotate(
                    name,
                    (recall, precision),
                    xytext=(-5 if left else 6, 5 if up else -12),
                    textcoords="offset points",
                    ha="right" if left else "left",
                    fontsize=8.5,
                    zorder=6,
                )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("Recall: share of the nodule voxels that are called")
        axes.set_ylabel("Precision: share of the called voxels that are nodule")
        _legend(axes)
    return figure


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure, figure.add_subplot()


def _colors() -> tuple[str, ...]:
    return (COLORS["accent"], *SERIES_COLORS)


def _place(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Where a logit lies between -1 and 1: the bins are equally wide there."""
    return logit / (8.0 + np.abs(logit))


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0)
