"""What the page of explanations says first: whether they can be believed, in sentences with their numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lungdet.evaluation.page import number_text, signed_text
from lungdet.evaluation.results import Finding
from lungdet.explanations.faithfulness import Deletion, OnTarget

_ALIKE = 0.5


def faithfulness_remarks(
    deletion: list[Deletion], on_target: OnTarget | None, correlation: float, *, randomised_because: str
) -> Iterator[Finding]:
    """Sentences for the top of the page.

    Args:
        deletion: all cases first.
        on_target: None where no nodule is known.
        correlation: mean rank correlation with maps of random weights; NaN where it was not measured.
        randomised_because: why it was not; empty where it was.
    """
    if deletion:
        yield _deletion_remark(deletion[0])
    else:
        yield Finding("warning", "deletion", "Faithfulness was not measured: type faithfulness.n_cases=64.")
    if on_target is not None:
        yield _target_remark(on_target)
    if math.isnan(correlation):
        yield Finding(
            "note",
            "random_weights",
            f"No comparison with random weights: {randomised_because or 'no map had any contrast'}.",
        )
    elif correlation > _ALIKE:
        yield Finding(
            "warning",
            "random_weights",
            f"With all weights drawn at random the maps stay much the same (mean rank correlation {correlation:.2f}): "
            "they show the image rather than what the network has learned.",
        )
    else:
        yield Finding(
            "good",
            "random_weights",
            f"With all weights drawn at random the maps change (mean rank correlation {signed_text(correlation)}): "
            "they depend on what the network has learned.",
        )


def _deletion_remark(all_cases: Deletion) -> Finding:
    gain = all_cases.gain
    numbers = (
        f"area {number_text(all_cases.most_first.value)} instead of {number_text(all_cases.random.value)}, gain "
        f"{signed_text(gain.value)}"
    )
    if math.isnan(gain.low):
        return Finding("note", "deletion", f"Taking the most important parts away first: {numbers}; {gain.reason}.")
    numbers += f" ({signed_text(gain.low)} to {signed_text(gain.high)})"
    if gain.low > 0:
        return Finding(
            "good",
            "deletion",
            f"Taking the most important parts away first lowers p(true class) faster than chance: {numbers}.",
        )
    return Finding(
        "warning",
        "deletion",
        f"Taking the most important parts away first is not shown to be better than chance: {numbers}.",
    )


def _target_remark(on_target: OnTarget) -> Finding:
    excess = on_target.excess
    numbers = (
        f"{100 * on_target.share.value:.1f} % of the positive part of the maps falls on the nodule, which takes "
        f"{100 * on_target.area.value:.1f} % of the crop"
    )
    if math.isnan(excess.low):
        return Finding("note", "on_target", f"{numbers}; {excess.reason}.")
    if excess.low > 0:
        return Finding("good", "on_target", f"{numbers}.")
    return Finding("warning", "on_target", f"{numbers}: no more than by chance, as far as these cases show.")
