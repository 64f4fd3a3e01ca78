"""What the figures draw: bars, steps and dots where the numbers are."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle, StepPatch

from lungdet.evaluation.style import COLORS
from lungdet.exploration.figures import (
    balance_figure,
    class_colors,
    grey_value_figure,
    histogram_row,
    hu_figure,
    image_size_figure,
    per_patient_figure,
)


def test_bars_of_a_place_fill_it() -> None:
    (axes,) = balance_figure({"all": [30, 10], "test": [0, 0]}, ("a", "b")).axes
    widths = [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]
    assert widths == [0.75, 0.25, 0.0, 0.0]
    assert [text.get_text() for text in axes.texts] == ["30", "10"]


def test_patients_are_counted_by_their_rows() -> None:
    (axes,) = per_patient_figure({"a": [1, 1, 2], "b": [3]}, items="patches").axes
    heights = [steps.get_data()[0].tolist() for steps in axes.patches if isinstance(steps, StepPatch)]
    assert [2, 1, 0] in heights
    assert [0, 0, 1] in heights
    assert axes.get_xlabel() == "Patches of the class per patient"
    (axes,) = per_patient_figure({"a": [1, 200]}, items="patches").axes
    assert "in steps of 5" in axes.get_xlabel()


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_values_are_shares_of_a_class(channels: int) -> None:
    counts = {"a": np.zeros((channels, 256), np.int64), "b": np.zeros((channels, 256), np.int64)}
    counts["a"][:, 100] = 3
    counts["a"][:, 0] = 1
    counts["b"][:, 101] = 7
    axes = grey_value_figure(counts).axes
    assert len(axes) == channels
    filled = [steps for steps in axes[0].patches if isinstance(steps, StepPatch) and steps.get_fill()]
    steps = {to_hex(patch.get_facecolor()): patch.get_data()[0] for patch in filled}
    assert steps[COLORS["muted"]][[0, 50]].tolist() == [0.25, 0.75]
    assert steps[COLORS["accent"]][50] == 1.0


def test_hu_in_steps() -> None:
    counts = np.zeros(4096, np.int64)
    counts[1024:1040] = 5  # 0 to 15 HU
    (axes,) = hu_figure({"all voxels": counts}, -1024).axes
    (steps,) = axes.patches
    assert isinstance(steps, StepPatch)
    values, edges, _ = steps.get_data()
    assert edges[np.nanargmax(values)] == 0
    assert np.nanmax(values) == 1.0


def test_a_histogram_a_quantity() -> None:
    figure = histogram_row({"x": [1, 2, 2], "y": [np.nan, 5.0, 6.0]}, y="Scans")
    assert [axes.get_xlabel() for axes in figure.axes] == ["x", "y"]
    assert sum(bar.get_height() for bar in figure.axes[1].patches if isinstance(bar, Rectangle)) == 2


def test_a_dot_an_image() -> None:
    (axes,) = image_size_figure([10, 20, 30], [1, 2, 3], [0, 1, 1], ("a", "b")).axes
    assert np.asarray(axes.collections[1].get_offsets()).tolist() == [[20, 2], [30, 3]]


def test_classes_have_their_colours() -> None:
    assert list(class_colors(("a", "b", "c"))) == ["a", "b", "c"]
    assert class_colors(("a", "b"))["b"] == COLORS["accent"]
