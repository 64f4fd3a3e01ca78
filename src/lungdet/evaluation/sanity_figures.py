"""The figures of sanity checks: AUROCs under shuffled labels, and the loss of a batch that is learned by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lungdet.evaluation.sanity_checks import SanityCheck
from lungdet.evaluation.style import COLORS, figure_style

_SIZE = (5.2, 3.1)


def check_figure(check: SanityCheck) -> tuple[Figure, str] | None:
    """The figure of a check and its caption; None for a check without one."""
    if "loss" in check.curve:
        return loss_figure(check.curve["loss"], target=check.marks.get("target")), "Training loss of every step."
    if check.curve:
        caption = "AUROC under permuted labels, shares of the permutations. The line is the AUROC of the true labels."
        return shuffled_figure(check.curve, true=check.marks["true labels"]), caption
    return None


def shuffled_figure(shuffled: Mapping[str, Sequence[float]], *, true: float) -> Figure:
    """Histograms of shuffled AUROCs, one for each way of shuffling, and where the true one lies.

    Args:
        shuffled: way -> AUROC of every permutation.
        true: AUROC of the true labels.
    """
    values = np.concatenate([np.asarray(v) for v in shuffled.values()])
    edges = np.histogram_bin_edges(values, bins=40)
    with figure_style():
        figure, axes = _canvas()
        for (way, aurocs), color in zip(shuffled.items(), ("accent", "second"), strict=False):
            share = np.histogram(aurocs, edges)[0] / len(aurocs)
            axes.stairs(share, edges, color=COLORS[color], fill=True, alpha=0.2)
            axes.stairs(share, edges, color=COLORS[color], linewidth=1.4, label=f"shuffled among {way}")
        axes.axvline(true, color=COLORS["ink"], linewidth=1.4, label=f"true labels: {true:.3f}")
        axes.set_xlabel("AUROC")
        axes.set_ylabel("Share of permutations")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0)
    return figure


def loss_figure(losses: Sequence[float], *, target: float | None) -> Figure:
    """Loss over steps; a logarithmic axis where all are positive.

    Args:
        losses: of every step; NaN and inf are left out.
        target: drawn as a line, None for none.
    """
    values = np.asarray(losses, np.float64)
    steps = np.arange(1, len(values) + 1)
    is_finite = np.isfinite(values)
    with figure_style():
        figure, axes = _canvas()
        if is_finite.any() and values[is_finite].min() > 0:
            axes.set_yscale("log")
        axes.plot(steps[is_finite], values[is_finite], color=COLORS["accent"], linewidth=1.4, label="loss")
        if target is not None:
            axes.axhline(
                target, color=COLORS["muted"], linewidth=0.8, linestyle=(0, (2, 3)), label=f"target {target:g}"
            )
        axes.set_xlabel("Step")
        axes.set_ylabel("Loss of the batch")
        axes.legend(loc="upper right")
    return figure


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure, figure.add_subplot()
