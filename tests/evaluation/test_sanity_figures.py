"""The figures of sanity checks show what they are given."""

from __future__ import annotations

import math

import numpy as np

from lungdet.evaluation.sanity_checks import SanityCheck
from lungdet.evaluation.sanity_figures import check_figure, loss_figure, shuffled_figure


def test_a_loss_curve_leaves_out_what_is_not_a_number() -> None:
    figure = loss_figure([1.0, math.nan, 0.1, math.inf], target=0.05)
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    curve, target = axes.lines
    assert np.asarray(curve.get_xdata()).tolist() == [1, 3]
    assert set(np.asarray(target.get_ydata())) == {0.05}


def test_a_loss_below_zero_has_a_plain_axis() -> None:
    assert loss_figure([0.5, -0.5], target=None).axes[0].get_yscale() == "linear"
    assert loss_figure([math.nan], target=None).axes[0].get_yscale() == "linear"


def test_shuffled_aurocs_are_shares_and_the_true_one_is_marked() -> None:
    figure = shuffled_figure({"rows": [0.4, 0.5, 0.5, 0.6], "patients": [0.3, 0.7]}, true=0.9)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [  # type: ignore[union-attr]
        "shuffled among rows",
        "shuffled among patients",
        "true labels: 0.900",
    ]
    outlines = [patch for patch in axes.patches if not patch.get_fill()]
    assert [round(float(patch.get_data().values.sum()), 9) for patch in outlines] == [1.0, 1.0]  # type: ignore[attr-defined]


def test_a_check_without_a_curve_has_no_figure() -> None:
    assert check_figure(SanityCheck("class_prior", "?", "passed", "")) is None
    drawn = check_figure(SanityCheck("overfit_one_batch", "?", "passed", "", curve={"loss": [1.0, 0.1]}))
    assert drawn is not None
    assert drawn[1] == "Training loss of every step."
