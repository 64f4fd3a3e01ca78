"""The visual debugger of image preprocessing: original, dark-frame profiles, cropped, resized, stored, filling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lungdet.evaluation.style import COLORS, figure_style
from lungdet.exploration.contact_sheet import short
from lungdet.store.image_preprocess import ImageSpec, ImageStages

_CELL_INCHES = 1.75
_SIDES = {"top": "second", "bottom": "fourth", "left": "accent", "right": "third"}


@dataclass(frozen=True)
class StagedImage:
    """One row of the figure.

    Attributes:
        name: of the image.
        class_name: its class.
        stages: every step.
    """

    name: str
    class_name: str
    stages: ImageStages


def preprocessing_figure(images: Sequence[StagedImage], spec: ImageSpec) -> Figure:
    """One row an image, one column a step.

    Args:
        images: in the order of the rows.
        spec: the steps; without a dark frame there are no profiles and no cropped image.
    """
    frame = spec.dark_frame
    columns = ["Original", *(["Dark share, outside in", "Cropped"] if frame is not None else []), "Resized", "Stored"]
    columns += ["Pad mask"] if spec.fit == "pad" else []
    with figure_style():
        figure = Figure(
            figsize=(len(columns) * _CELL_INCHES, 0.3 + len(images) * (_CELL_INCHES + 0.12)), layout="constrained"
        )
        grid = figure.subplots(len(images), len(columns), squeeze=False)
        for row, image in zip(grid, images, strict=True):
            axes = dict(zip(columns, row, strict=True))
            stages = image.stages
            _show(axes["Original"], stages.original)
            top, left, bottom, right = stages.kept_box
            if stages.kept_box != (0, 0, *stages.original.shape[:2]):
                _box(axes["Original"], stages.kept_box, COLORS["second"])
            axes["Original"].set_title(f"{image.class_name}: {short(image.name, 24)}", fontsize=6.5, loc="left")
            if frame is not None:
                _profiles(axes["Dark share, outside in"], stages, frame.dark_share)
                _show(axes["Cropped"], stages.cropped)
                axes["Cropped"].set_title(f"{bottom - top} x {right - left}", fontsize=6.5, loc="left")
            _show(axes["Resized"], stages.resized)
            if stages.resized.shape[:2] != stages.stored.shape[:2] or spec.fit == "cover":
                _box(axes["Resized"], stages.shown_box, COLORS["third"])
            axes["Resized"].set_title("{} x {}".format(*stages.resized.shape[:2]), fontsize=6.5, loc="left")
            _show(axes["Stored"], stages.stored)
            axes["Stored"].set_title("{} x {}".format(*stages.stored.shape[:2]), fontsize=6.5, loc="left")
            if "Pad mask" in axes:
                _show(axes["Pad mask"], np.where(stages.pad_mask, np.uint8(200), np.uint8(40)))
                axes["Pad mask"].set_title(f"{stages.pad_mask.mean():.1%} filled", fontsize=6.5, loc="left")
        for axes_of_column, head in zip(grid[0], columns, strict=True):
            axes_of_column.annotate(
                head, (0, 1), xytext=(0, 14), xycoords="axes fraction", textcoords="offset points", fontsize=8.5,
                fontweight="bold", annotation_clip=False,
            )  # fmt: skip
    return figure


def _show(axes: Axes, image: npt.NDArray[np.uint8]) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
    axes.set_axis_off()


def _box(axes: Axes, box: tuple[int, int, int, int], color: str) -> None:
    top, left, bottom, right = box
    axes.add_patch(
        Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False, edgecolor=color, linewidth=1.2)
    )


def _profiles(axes: Axes, stages: ImageStages, dark_share: float) -> None:
    """The dark share of each line by side, raw and smoothed, and where the frame was seen to end."""
    for side, color in _SIDES.items():
        scan = stages.sides[side]
        lines = np.arange(len(scan.dark_share))
        axes.plot(lines, scan.dark_share, color=COLORS[color], linewidth=0.6, alpha=0.4)
        axes.plot(lines, scan.smoothed, color=COLORS[color], linewidth=1.1)
        if scan.frame_lines:
            axes.plot(
                [scan.frame_lines - 1], [scan.smoothed[scan.frame_lines - 1]], "o", color=COLORS[color], markersize=3
            )
    axes.axhline(dark_share, color=COLORS["ink"], linewidth=0.8, linestyle=(0, (3, 2)))
    axes.set_ylim(-0.04, 1.04)
    axes.tick_params(labelsize=6)
    for place, (side, color) in enumerate(_SIDES.items()):  # a legend would lie on the curves
        axes.annotate(
            f"{side} {stages.sides[side].cut_lines}", (0.27 * place, 1), xytext=(0, 3), xycoords="axes fraction",
            textcoords="offset points", fontsize=6, color=COLORS[color],
        )  # fmt: skip
