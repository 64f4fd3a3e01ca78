"""Bars, curves and dots of cases that are written down, read back from the figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lungdet.evaluation.style import COLORS
from lungdet.explanations.figures import case_figure, gain_figure

REGIONS = pd.DataFrame({"name": list("dcba"), "area_percent": [25.0, 40.0, 10.0, 25.0], "importance": [-3, 0, 1, 2]})
CURVES = pd.DataFrame(
    [
        {"change": change, "order": order, "share": share, "score": level}
        for change in ("deletion", "insertion")
        for level, order in ((0.1, "most_first"), (0.9, "least_first"), (0.5, "random_0"), (0.6, "random_1"))
        for share in (0.0, 1.0)
    ]
)


def drawn(n_bars: int = 3) -> tuple[Axes, Axes, Axes]:
    figure = case_figure(REGIONS, CURVES, n_bars=n_bars, unit="drop of the logit")
    bars, deletion, insertion = figure.axes
    return bars, deletion, insertion


def test_the_best_parts_are_numbered_from_the_top() -> None:
    bars = drawn()[0]
    assert [tick.get_text() for tick in bars.get_yticklabels()] == [
        "3 · c (40.0 %)",
        "2 · b (10.0 %)",
        "1 · a (25.0 %)",
    ]
    assert [bar.get_width() for bar in bars.patches] == [0, 1, 2]  # type: ignore[attr-defined]
    assert bars.get_xlabel() == "drop of the logit"


def test_parts_that_speak_against_the_class_have_another_colour() -> None:
    colors = [bar.get_facecolor() for bar in drawn(9)[0].patches]
    assert len(colors) == 4, "no more than there are"
    assert colors[0] != colors[1] == colors[2] == colors[3]


def test_curves_of_both_changes_and_one_name_for_all_random_orders() -> None:
    _, deletion, insertion = drawn()
    assert deletion.get_title(loc="left") == "Parts taken away"
    assert insertion.get_title(loc="left") == "Parts put back"
    legend = deletion.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "random order",
        "most important first",
        "least important first",
    ]
    assert [line.get_ydata()[0] for line in insertion.lines] == [0.5, 0.6, 0.1, 0.9]  # type: ignore[index]


def measured(labels: list[int]) -> Figure:
    table = pd.DataFrame({"label": labels, "most_first": [0.1 * (n + 1) for n in range(len(labels))], "random": 0.5})
    return gain_figure(table, ("normal", "ill"))


@pytest.mark.parametrize(
    ("labels", "names"),
    [([0, 1, 1], ["normal (n = 1)", "ill (n = 2)"]), ([1], ["ill (n = 1)"])],
)
def test_a_dot_a_case_by_class(labels: list[int], names: list[str]) -> None:
    (axes,) = measured(labels).axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == names
    dots = [tuple(point) for collection in axes.collections for point in np.asarray(collection.get_offsets())]
    assert dots == [(0.5, pytest.approx(0.1 * (n + 1))) for n in range(len(labels))]
    assert axes.lines[0].get_color() == COLORS["muted"], "the line of chance"
