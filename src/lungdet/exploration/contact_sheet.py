"""Pictures of one class as one PNG: a contact sheet to put on a slide."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from lungdet.evaluation.style import figure_style
from lungdet.evaluation.views import View
from lungdet.exploration.content import Grid

_COLUMNS = 6
_SIDE_INCHES = 1.7


def grey_or_rgb(picture: npt.NDArray[np.uint8] | View) -> npt.NDArray[np.uint8]:
    """The pixels to show: uint8 [H, W] or [H, W, 3]; HU in the lung window."""
    return picture.gray() if isinstance(picture, View) else picture


def contact_sheet(grid: Grid) -> Figure:
    """Every picture of a grid with its name below, six in a row."""
    rows = max(1, -(-len(grid.samples) // _COLUMNS))
    with figure_style():
        figure = Figure(figsize=(_COLUMNS * _SIDE_INCHES, 0.4 + rows * (_SIDE_INCHES + 0.32)), layout="constrained")
        figure.suptitle(grid.title, x=0.01, ha="left", fontsize=11)
        for place, sample in enumerate(grid.samples):
            axes = figure.add_subplot(rows, _COLUMNS, place + 1)
            axes.imshow(grey_or_rgb(sample.picture), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_axis_off()
            axes.set_title(short(sample.name), fontsize=6.5, y=-0.14)
    return figure


def short(name: str, n: int = 22) -> str:
    """The end of a long name without its folders, where file names and UIDs differ.

    >>> short("train/PNEUMONIA/person1000_bacteria_2931.jpeg")
    '…00_bacteria_2931.jpeg'
    """
    name = name.rsplit("/", 1)[-1]
    return name if len(name) <= n else f"\u2026{name[len(name) - n + 1 :]}"


def spread_choice(groups: Sequence[str], n: int, *, generator: np.random.Generator) -> list[int]:
    """Up to n row numbers, from as many groups as there are: a second row of a group only when all had their first.

    Args:
        groups: of each row: its patient, or its scan.
        n: how many.
        generator: decides which.

    Returns:
        Row numbers, in the order drawn.
    """
    order = generator.permutation(len(groups))
    seen: dict[str, int] = {}
    turn = np.empty(len(groups), np.int64)
    for row in order:
        turn[row] = seen[groups[row]] = seen.get(groups[row], -1) + 1
    return [int(row) for row in order[np.argsort(turn[order], kind="stable")][:n]]
