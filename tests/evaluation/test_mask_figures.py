"""The figures of a segmentation report draw what they are given, where it belongs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from lungdet.evaluation.mask_figures import dice_figure, voxel_precision_recall_figure

CURVE = pd.DataFrame(
    {
        "logit": [-np.inf, -8.0, 0.0, 8.0],
        "dice": [0.1, 0.4, 0.6, np.nan],
        "recall": [1.0, 0.9, 0.5, 0.0],
        "precision": [0.05, 0.3, 0.7, np.nan],
    }
)


def drawn(line: Line2D) -> dict[str, np.ndarray]:
    return {"x": np.asarray(line.get_xdata(), np.float64), "y": np.asarray(line.get_ydata(), np.float64)}


def test_dice_over_the_bins_own_axis() -> None:
    """X / (8 + |x|): -8 lies at -1/2, 0 at 0, 8 at 1/2; the edge at -inf is left out."""
    axes = dice_figure({"whole": CURVE, "crop": CURVE}, {"0.5": 0.0, "chosen": 8.0}).axes[0]
    whole, crop, half, chosen = axes.lines
    np.testing.assert_allclose(drawn(whole)["x"], [-0.5, 0, 0.5])
    np.testing.assert_allclose(drawn(whole)["y"], [0.4, 0.6, np.nan])
    assert whole.get_color() != crop.get_color()
    assert (drawn(half)["x"][0], drawn(chosen)["x"][0]) == (0, 0.5)
    assert [text.get_text() for text in axes.texts] == ["0.5", "chosen"]
    assert axes.get_xticklabels()[0].get_text() == "\u221264"


def test_precision_over_recall() -> None:
    points = {"0.5": (0.5, 0.7), "nowhere": (np.nan, 0.5), "edge": (0.95, 0.95)}
    axes = voxel_precision_recall_figure({"whole": CURVE}, points).axes[0]
    curve, half, edge = axes.lines
    np.testing.assert_allclose(drawn(curve)["x"], [1.0, 0.9, 0.5])
    assert (half.get_xdata(), half.get_ydata()) == ([0.5], [0.7])
    assert (edge.get_xdata(), edge.get_ydata()) == ([0.95], [0.95])
    assert [text.get_text() for text in axes.texts] == ["0.5", "edge"]
    assert axes.get_legend() is not None
    assert voxel_precision_recall_figure({}, {}).axes[0].get_legend() is None
