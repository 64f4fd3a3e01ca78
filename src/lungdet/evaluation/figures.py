"""The figures of a classification report; each takes plain arrays or tables and gives a matplotlib figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lungdet.evaluation.style import COLORS, SERIES_COLORS, figure_style

_SIZE = (5.2, 4.1)
_WIDE = (5.2, 3.1)
# Of the unit square: how far names stand from their dots, and from each other.
_BESIDE, _LINE = 0.035, 0.052
_HIGH_PRECISION = 0.7
# From here on names would stand out of the square on the right.
_NEAR_EDGE = 0.75
_LEADER: dict[str, Any] = {"arrowstyle": "-", "color": COLORS["muted"], "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3}


def roc_figure(curves: Mapping[str, pd.DataFrame], points: Mapping[str, tuple[float, float]]) -> Figure:
    """Sensitivity over false-positive rate.

    Args:
        curves: name -> columns x (false-positive rate) and y (sensitivity); the first is the model.
        points: operating point name -> (x, y) to mark on the model's curve.
    """
    with figure_style():
        figure, axes = _canvas(_SIZE)
        axes.plot([0, 1], [0, 1], color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
        _draw_curves(axes, curves)
        _mark(axes, points, curve="roc")
        _unit_square(axes, "False-positive rate (1 - specificity)", "Sensitivity (recall)")
        axes.legend(loc="lower right")
    return figure


def precision_recall_figure(
    curves: Mapping[str, pd.DataFrame], points: Mapping[str, tuple[float, float]], *, prevalence: float
) -> Figure:
    """Precision over recall, with the precision of guessing as a line.

    Args:
        curves: name -> columns x (recall) and y (precision); the first is the model.
        points: operating point name -> (recall, precision).
        prevalence: share of positives.
    """
    with figure_style():
        figure, axes = _canvas(_SIZE)
        axes.axhline(prevalence, color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
        axes.annotate(
            f"guessing: {prevalence:.3f}",
            (0.0, prevalence),
            xytext=(3, 3),
            textcoords="offset points",
            color=COLORS["muted"],
            fontsize=8.5,
        )
        _draw_curves(axes, curves)
        _mark(axes, points, curve="precision_recall")
        _unit_square(axes, "Recall (sensitivity)", "Precision")
        # Of frequent positives the curve stays high.
        axes.legend(loc="upper right" if prevalence < 0.3 else "lower left")
    return figure


def score_figure(
    histogram: pd.DataFrame, thresholds: Mapping[str, float], *, names: tuple[str, str] = ("no nodule", "nodule")
) -> Figure:
    """How the logits of the two classes are spread, each class as shares of itself, with the thresholds.

    Args:
        histogram: columns low, high, negatives, positives, see `score_histogram`.
        thresholds: name -> logit, finite.
        names: of the negative and the positive class, for the legend.
    """
    edges = np.append(histogram["low"].to_numpy(), histogram["high"].iloc[-1])
    with figure_style():
        figure, axes = _canvas(_SIZE)
        for column, name, color in (("negatives", names[0], "muted"), ("positives", names[1], "accent")):
            counts = histogram[column].to_numpy(dtype=np.float64)
            total = counts.sum()
            if total:
                axes.stairs(counts / total, edges, color=COLORS[color], fill=True, alpha=0.25)
                axes.stairs(
                    counts / total, edges, color=COLORS[color], linewidth=1.4, label=f"{name} (n = {total:,.0f})"
                )
        _flag_thresholds(axes, thresholds)
        axes.set_xlabel("Logit (0 is probability 0.5)")
        axes.set_ylabel("Share of the class")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0)
    return figure


def reliability_figure(bins: pd.DataFrame, *, positives: str = "nodules") -> Figure:
    """Observed share of positives over predicted probability; the area of a point grows with its rows.

    Args:
        bins: columns mean_probability, observed_fraction, n_rows; one row per bin that holds any.
        positives: what the positive class is called.
    """
    with figure_style():
        figure, axes = _canvas(_SIZE)
        predicted, observed = bins["mean_probability"], bins["observed_fraction"]
        axes.plot([0, 1], [0, 1], color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
        axes.plot(predicted, observed, color=COLORS["accent"], linewidth=1.2)
        share = np.sqrt(bins["n_rows"].to_numpy(dtype=np.float64) / max(1, int(bins["n_rows"].max())))
        axes.scatter(predicted, observed, s=16 + 120 * share, color=COLORS["accent"], alpha=0.75, linewidths=0)
        for x, y, n in zip(predicted, observed, bins["n_rows"], strict=True):
            below = y > 0.93
            axes.annotate(
                f"{n:,}",
                (x, y),
                xytext=(0, -13 if below else 8),
                textcoords="offset points",
                ha="center",
                color=COLORS["muted"],
                fontsize=7.5,
            )
        _unit_square(axes, "Predicted probability", f"Observed share of {positives}")
    return figure


def size_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Sensitivity by diameter class with its interval.

    Args:
        rows: name, n, estimate (an `Estimate`); a class without nodules is drawn as an empty place.
    """
    with figure_style():
        figure, axes = _canvas(_WIDE)
        for x, row in enumerate(rows):
            estimate = row["estimate"]
            if np.isfinite(estimate.value):
                axes.plot([x], [estimate.value], "o", color=COLORS["accent"], markersize=7)
            if np.isfinite(estimate.low):
                axes.plot([x, x], [estimate.low, estimate.high], color=COLORS["accent"], linewidth=1.6)
        axes.set_xticks(range(len(rows)), [f"{row['name']}\nn = {row['n']}".replace(">=", "\u2265") for row in rows])
        axes.set_xlim(-0.5, len(rows) - 0.5)
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel("Sensitivity")
        axes.grid(visible=False, axis="x")
    return figure


def history_figure(history: pd.DataFrame, quantity: str, *, best: str) -> Figure:
    """A learning curve: train and validation over epochs, with the best validation epoch marked.

    Args:
        history: column epoch and any of `train/<quantity>`, `val/<quantity>`.
        quantity: `loss`, `auroc`, ...
        best: `min` or `max`, which validation value is best.
    """
    with figure_style():
        figure, axes = _canvas(_WIDE)
        for stage, color in (("train", "muted"), ("val", "accent")):
            name = f"{stage}/{quantity}"
            points = history[["epoch", name]].dropna() if name in history else history.iloc[:0]
            if points.empty:
                continue
            marker = "o" if len(points) < 40 else None
            label = "training"
            if stage == "val":
                values = points[name].to_numpy()
                at = int(values.argmin() if best == "min" else values.argmax())
                epoch, value = int(points["epoch"].iloc[at]), float(values[at])
                axes.plot([epoch], [value], "o", color=COLORS["second"], markersize=7, zorder=5)
                label = f"validation, best {value:.3f} in epoch {epoch}"
            axes.plot(points["epoch"], points[name], color=COLORS[color], marker=marker, markersize=3, label=label)
        axes.set_xlabel("Epoch")
        axes.set_ylabel(quantity.upper() if quantity == "auroc" else quantity.capitalize().replace("_", " "))
        axes.locator_params(axis="x", integer=True)
        if axes.lines:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0)
    return figure


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()


def _draw_curves(axes: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    for i, (name, curve) in enumerate(curves.items()):
        color = COLORS["accent"] if i == 0 else SERIES_COLORS[(i - 1) % len(SERIES_COLORS)]
        axes.plot(
            curve["x"],
            curve["y"],
            color=color,
            linewidth=2.0 if i == 0 else 1.2,
            label=name,
            zorder=3 if i == 0 else 2,
        )


def _mark(axes: Axes, points: Mapping[str, tuple[float, float]], *, curve: Literal["roc", "precision_recall"]) -> None:
    """Dots with their names, stacked where the dots are close; one name for one place."""
    names: dict[tuple[float, float], list[str]] = {}
    for name, place in points.items():
        if np.all(np.isfinite(place)):
            names.setdefault(place, []).append(name)
    # A ROC curve leaves room to the right and below; a precision-recall curve below it while it is high, else above.
    low = {place for place in names if curve == "precision_recall" and place[1] < _HIGH_PRECISION}
    for places, down in ((sorted(set(names) - low, key=lambda at: -at[1]), -1), (sorted(low, key=lambda at: at[1]), 1)):
        last = -math.inf
        for x, y in places:
            axes.plot([x], [y], "o", color=COLORS["ink"], markersize=5, zorder=5)
            # The curve rises to the left, into names that stand above.
            last = max(down * y + (_BESIDE if down < 0 else _LINE), last + _LINE)
            left = curve == "precision_recall" and down < 0
            at_edge = not left and x > _NEAR_EDGE
            at = (x - _BESIDE if left else 1.02 if at_edge else x + _BESIDE, down * last)
            leader = _LEADER | {"relpos": (1.0 if left else 0.5 if at_edge else 0.0, 0.5)}
            axes.annotate(
                ", ".join(names[x, y]),
                (x, y),
                xytext=at,
                ha="right" if left or at_edge else "left",
                va="center",
                fontsize=8.5,
                zorder=6,
                arrowprops=leader if abs(at[1] - y) > 2 * _BESIDE else None,
            )


def _flag_thresholds(axes: Axes, thresholds: Mapping[str, float]) -> None:
    """Dashed lines whose heights are staggered, each name at the top of its line where no other line passes."""
    top = axes.get_ylim()[1]
    ordered = sorted(thresholds.items(), key=lambda item: item[1])
    low, high = axes.get_xlim()
    rising = bool(ordered) and float(np.mean(list(thresholds.values()))) > (low + high) / 2
    for i, (name, at) in enumerate(ordered):
        level = i if rising else len(ordered) - 1 - i
        height = top * (1.06 + 0.08 * level)
        axes.plot([at, at], [0, height], color=COLORS["second"], linewidth=1.0, linestyle=(0, (4, 2)))
        axes.annotate(
            name,
            (at, height),
            xytext=(-4 if rising else 4, -8),
            textcoords="offset points",
            ha="right" if rising else "left",
            color=COLORS["second"],
            fontsize=8.5,
        )
    axes.set_ylim(0, top * (1.08 + 0.08 * len(ordered)))


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
