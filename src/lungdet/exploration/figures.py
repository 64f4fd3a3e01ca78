"""The figures of an exploration, from plain counts and columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lungdet.evaluation.style import COLORS, SERIES_COLORS, figure_style
from lungdet.exploration.content import first_capital

_SIZE = (5.2, 3.1)
_WIDE = (10.6, 3.1)
_CHANNELS = {1: ("Grey value",), 3: ("Red", "Green", "Blue")}
_MOST_BARS = 40


def class_colors(classes: Sequence[str]) -> dict[str, str]:
    """The negative class in grey, the positive in blue, further ones in the colours of series."""
    return dict(zip(classes, (COLORS["muted"], COLORS["accent"], *SERIES_COLORS), strict=False))


def balance_figure(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> Figure:
    """A bar a place, from 0 to 100 %, with the counts in it.

    Args:
        counts: place -> rows of each class.
        classes: their names.
    """
    with figure_style():
        figure = Figure(figsize=(_SIZE[0], 0.75 + 0.42 * max(2, len(counts))), layout="constrained")
        axes = figure.add_subplot()
        for row, values in enumerate(counts.values()):
            left, total = 0.0, max(1, sum(values))
            for (name, color), n in zip(class_colors(classes).items(), values, strict=True):
                share = n / total
                axes.barh(row, share, left=left, height=0.66, color=color, alpha=0.8, label=name if row == 0 else None)
                if share > 0.09:
                    axes.text(left + share / 2, row, f"{n:,}", ha="center", va="center", color="white", fontsize=8.5)
                left += share
        axes.set_yticks(range(len(counts)), list(counts))
        axes.set_ylim(len(counts) - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
        axes.grid(visible=False, axis="y")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(classes), borderaxespad=0)
    return figure


def per_patient_figure(counts: Mapping[str, npt.ArrayLike], *, items: str) -> Figure:
    """How many patients have so many rows of a class.

    Args:
        counts: class -> rows of each patient who has any.
        items: what rows are called.
    """
    most = max((int(np.max(values)) for values in counts.values() if np.size(values)), default=1)
    step = max(1, -(-most // _MOST_BARS))
    edges = np.arange(1, most + step + 1, step) - 0.5
    with figure_style():
        figure, axes = _canvas(_SIZE)
        _class_steps(axes, {name: np.histogram(values, edges)[0] for name, values in counts.items()}, edges)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(bottom=0)
        axes.set_yticks(ticks := [10**k for k in range(7) if 10**k <= axes.get_ylim()[1]], [f"{n:,}" for n in ticks])
        axes.set_yticks([], minor=True)
        axes.set_xlabel(
            f"{first_capital(items)} of the class per patient" + (f", in steps of {step}" if step > 1 else "")
        )
        axes.set_ylabel("Patients")
        axes.locator_params(axis="x", integer=True)
    return figure


def grey_value_figure(counts: Mapping[str, npt.NDArray[np.int64]]) -> Figure:
    """Histograms of grey values, an axis a channel; each class as shares of its own pixels.

    Args:
        counts: class -> int64 [C, 256], C 1 or 3.
    """
    n_channels = next(iter(counts.values())).shape[0]
    with figure_style():
        figure = Figure(figsize=_SIZE if n_channels == 1 else _WIDE, layout="constrained")
        panels = figure.subplots(1, n_channels, sharey=True, squeeze=False)[0]
        highest = 0.0
        for channel, (name, axes) in enumerate(zip(_CHANNELS[n_channels], panels, strict=True)):
            # Pairs of values: JPEG and 12-bit films leave combs that no eye can read at 256 bins.
            paired = {key: value[channel].reshape(128, 2).sum(axis=1) for key, value in counts.items()}
            top = _class_steps(axes, paired, np.arange(0, 257, 2), as_shares=True, legend=channel == 0)
            axes.set_xlabel(name)
            axes.set_xlim(0, 256)
            axes.set_xticks([0, 64, 128, 192, 255])
            highest = max(highest, top)
            axes.set_ylim(0, highest * 1.05)
            if channel == 0:
                axes.set_ylabel("Share of pixels")
    return figure


def hu_figure(counts: Mapping[str, npt.NDArray[np.int64]], low_hu: int, *, bin_hu: int = 16) -> Figure:
    """Histograms of HU on a logarithmic axis; each as shares of its own voxels.

    Args:
        counts: what was counted (all voxels, around a class) -> int64 [n], one value a HU from `low_hu` on.
        low_hu: HU of the first.
        bin_hu: HU that are taken together.
    """
    with figure_style():
        figure, axes = _canvas(_SIZE)
        names = list(counts)
        colors = dict(zip(names, (COLORS["second"], COLORS["muted"], COLORS["accent"]), strict=False))
        for name, values in counts.items():
            whole = len(values) // bin_hu * bin_hu
            shares = values[:whole].reshape(-1, bin_hu).sum(axis=1) / max(1, int(values.sum()))
            edges = low_hu + np.arange(len(shares) + 1) * bin_hu
            axes.stairs(np.where(shares > 0, shares, np.nan), edges, color=colors[name], linewidth=1.4, label=name)
        axes.set_yscale("log")
        axes.set_xlabel(f"HU, in steps of {bin_hu}")
        axes.set_ylabel("Share of voxels")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(names), borderaxespad=0)
    return figure


def histogram_row(columns: Mapping[str, npt.ArrayLike], *, y: str) -> Figure:
    """A histogram a quantity, side by side.

    Args:
        columns: name with unit -> values.
        y: what is counted.
    """
    with figure_style():
        figure = Figure(figsize=_WIDE, layout="constrained")
        for place, (name, values) in enumerate(columns.items()):
            axes = figure.add_subplot(1, len(columns), place + 1)
            numbers = np.asarray(values, np.float64)
            edges = np.histogram_bin_edges(numbers[np.isfinite(numbers)], bins=24)
            axes.hist(numbers, bins=edges, color=COLORS["accent"], alpha=0.8)  # type: ignore[arg-type]
            axes.set_xlabel(name)
            axes.locator_params(axis="y", integer=True)
            axes.locator_params(axis="x", nbins=6)
            if place == 0:
                axes.set_ylabel(y)
    return figure


def image_size_figure(
    widths: npt.ArrayLike, heights: npt.ArrayLike, labels: npt.ArrayLike, classes: Sequence[str]
) -> Figure:
    """Height over width, a dot an image; dots on the dashed line are square.

    Args:
        widths: pixels, [N].
        heights: pixels, [N].
        labels: numbers of classes, [N].
        classes: their names.
    """
    x, y, label = np.asarray(widths, np.float64), np.asarray(heights, np.float64), np.asarray(labels)
    with figure_style():
        figure, axes = _canvas((_SIZE[0], 4.1))
        for number, (name, color) in enumerate(class_colors(classes).items()):
            chosen = label == number
            axes.scatter(x[chosen], y[chosen], s=8, color=color, alpha=0.35, linewidths=0, label=name, rasterized=True)
        most = max(x.max(), y.max()) * 1.05
        axes.plot([0, most], [0, most], color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)))
        axes.set_xlim(0, most)
        axes.set_ylim(0, most)
        axes.set_xlabel("Width, pixels")
        axes.set_ylabel("Height, pixels")
        axes.legend(loc="upper left")
    return figure


def _class_steps(
    axes: Axes,
    counts: Mapping[str, npt.NDArray[Any]],
    edges: npt.NDArray[Any],
    *,
    as_shares: bool = False,
    legend: bool = True,
) -> float:
    """Outlined histograms of classes over each other; returns the height of the highest step but the outermost two."""
    top = 0.0
    for name, color in class_colors(list(counts)).items():
        values = np.asarray(counts[name], np.float64)
        total = values.sum()
        if not total:
            continue
        shown = values / total if as_shares else values
        axes.stairs(shown, edges, color=color, fill=True, alpha=0.2)
        axes.stairs(shown, edges, color=color, linewidth=1.4, label=name)
        # Black frames and burnt-out corners pile up at the ends and would flatten everything between.
        top = max(top, float(shown[1:-1].max()) if len(shown) > 2 else float(shown.max()))
    if legend:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=len(counts), borderaxespad=0)
    return top


def _canvas(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.add_subplot()
