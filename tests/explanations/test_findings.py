"""Each sentence on whether explanations can be believed, with its numbers and at its borders."""

from __future__ import annotations

import math

import pytest

from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.results import Finding
from lungdet.explanations.faithfulness import Deletion, OnTarget
from lungdet.explanations.findings import faithfulness_remarks

MINUS = "\u2212"


def deletion(gain: Estimate) -> Deletion:
    area = Estimate(0.25, 0.2, 0.3)
    return Deletion("all", 4, 3, area, Estimate(0.5, 0.4, 0.6), area, gain, area)


def on_target(excess: Estimate) -> OnTarget:
    return OnTarget(4, 3, Estimate(0.4), Estimate(0.125), excess, 0)


def remarks(
    gain: Estimate | None = None, excess: Estimate | None = None, correlation: float = 0.0, because: str = ""
) -> dict[str, Finding]:
    found = faithfulness_remarks(
        [] if gain is None else [deletion(gain), deletion(Estimate(9.0, 9.0, 9.0))],
        None if excess is None else on_target(excess),
        correlation,
        randomised_because=because,
    )
    return {finding.code: finding for finding in found}


@pytest.mark.parametrize(
    ("gain", "kind", "text"),
    [
        (
            Estimate(0.25, 0.001, 0.4),
            "good",
            "Taking the most important parts away first lowers p(true class) faster than chance: area 0.250 instead of "
            "0.500, gain +0.250 (+0.001 to +0.400).",
        ),
        (
            Estimate(0.25, 0.0, 0.4),
            "warning",
            "Taking the most important parts away first is not shown to be better than chance: area 0.250 instead of "
            "0.500, gain +0.250 (+0.000 to +0.400).",
        ),
        (
            Estimate(-0.1, reason="a single patient cannot be resampled"),
            "note",
            "Taking the most important parts away first: area 0.250 instead of 0.500, gain "
            f"{MINUS}0.100; a single patient cannot be resampled.",
        ),
    ],
)
def test_deletion_of_all_cases(gain: Estimate, kind: str, text: str) -> None:
    found = remarks(gain)["deletion"]
    assert (found.kind, found.text) == (kind, text)


def test_what_was_not_measured_is_a_warning() -> None:
    found = remarks()["deletion"]
    assert (found.kind, found.text) == (
        "warning",
        "Faithfulness was not measured: type faithfulness.n_cases=64.",
    )


SHARE = "40.0 % of the positive part of the maps falls on the nodule, which takes 12.5 % of the crop"


@pytest.mark.parametrize(
    ("excess", "kind", "text"),
    [
        (Estimate(0.3, 0.1, 0.5), "good", f"{SHARE}."),
        (Estimate(0.3, 0.0, 0.5), "warning", f"{SHARE}: no more than by chance, as far as these cases show."),
        (Estimate(0.3, reason="few"), "note", f"{SHARE}; few."),
    ],
)
def test_the_share_on_the_nodule(excess: Estimate, kind: str, text: str) -> None:
    found = remarks(excess=excess)["on_target"]
    assert (found.kind, found.text) == (kind, text)


def test_images_have_no_nodule_to_fall_on() -> None:
    assert set(remarks()) == {"deletion", "random_weights"}


@pytest.mark.parametrize(
    ("correlation", "kind", "said"),
    [
        (0.51, "warning", "stay much the same (mean rank correlation 0.51): they show the image"),
        (0.5, "good", "the maps change (mean rank correlation +0.500): they depend on"),
        (-0.2, "good", f"(mean rank correlation {MINUS}0.200)"),
    ],
)
def test_weights_at_random(correlation: float, kind: str, said: str) -> None:
    found = remarks(correlation=correlation)["random_weights"]
    assert found.kind == kind
    assert said in found.text


@pytest.mark.parametrize(("because", "said"), [("n_cases=0", "n_cases=0"), ("", "no map had any contrast")])
def test_why_weights_were_not_drawn(because: str, said: str) -> None:
    found = remarks(correlation=math.nan, because=because)["random_weights"]
    assert (found.kind, found.text) == ("note", f"No comparison with random weights: {said}.")
