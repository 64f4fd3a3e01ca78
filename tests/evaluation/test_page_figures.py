"""Figures for pages: one id each, and one figure a quantity that was logged."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from lungdet.evaluation.page_figures import embedded_figure, history_figures

SHOWN = (("loss", "min", "Loss by epoch"), ("average_precision", "max", "AP"), ("dice", "max", "Dice"))


def test_an_embedded_figure_is_markup_with_its_name() -> None:
    figure = embedded_figure("roc", Figure(), "a < b")
    assert (figure["name"], figure["caption"]) == ("roc", "a < b")
    assert figure["svg"].__html__().startswith("<svg")
    assert 'id="roc-' in figure["svg"]


def test_quantities_that_were_logged() -> None:
    history = pd.DataFrame({"epoch": [0, 1], "val/average_precision": [0.1, 0.2], "train/loss": [0.5, 0.4]})
    figures = list(history_figures(history, SHOWN))
    assert [figure["name"] for figure in figures] == ["history-loss", "history-average-precision"]
    assert figures[0]["caption"] == "Loss by epoch; the marked dot is the best validation epoch."
    assert list(history_figures(None, SHOWN)) == []
