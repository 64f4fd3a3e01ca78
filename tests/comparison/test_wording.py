"""Sentences of a comparison, read off reports whose pairs are written down."""

from __future__ import annotations

import dataclasses

import pytest
from tests.comparison.small_report import UNDECIDED, different, small_report

from lungdet.comparison.measures import Measure
from lungdet.comparison.pairs import Verdict
from lungdet.comparison.wording import (
    counts_of,
    lead_of,
    method_of,
    threshold_name,
    title_of,
    verdict_name,
)


def test_thresholds() -> None:
    assert threshold_name("recall_90") == "recall ≥ 0.9"
    assert threshold_name("recall_97.5") == "recall ≥ 0.975"
    assert threshold_name("recall_100") == "recall ≥ 1"
    assert threshold_name("max_dice") == "largest Dice"
    with pytest.raises(KeyError, match="youden"):
        threshold_name("youden")


def test_titles_name_every_run() -> None:
    assert title_of(small_report("a", "b")) == "a and b"
    assert title_of(small_report("a", "b", "c")) == "a, b and c"


def test_two_runs_lead_with_their_verdict() -> None:
    assert lead_of(small_report("a", "b", verdicts={("a", "b"): different("b")})) == "b is better."


def test_several_pairs_are_counted() -> None:
    nothing = small_report("a", "b", "c", verdicts={("a", "b"): Verdict("not_distinguishable", "", "Same.")})
    assert lead_of(nothing) == "None of the 3 pairs of runs is distinguishable in AUROC."
    found = {("a", "b"): different("b"), ("a", "c"): different("a"), ("b", "c"): different("b")}
    assert lead_of(small_report("a", "b", "c", verdicts=found)) == (
        "3 of 3 pairs of runs are different in AUROC: b is better than 2 others, a is better than 1 other."
    )


@pytest.mark.parametrize(
    ("verdict", "name"),
    [
        (UNDECIDED, "Undecided."),
        (different("a"), "Different."),
        (Verdict("not_distinguishable", "", ""), "Not distinguishable."),
    ],
)
def test_verdicts_have_names(verdict: Verdict, name: str) -> None:
    assert verdict_name(verdict) == name


def test_counts_follow_the_partition() -> None:
    report = small_report()
    assert counts_of(report) == "Test: 24 patients, 1,200 candidates"
    assert counts_of(dataclasses.replace(report, partition="all scans")).startswith("all scans: 24")


def test_the_method_says_what_was_done_and_no_more() -> None:
    two = dict(method_of(small_report()))
    assert list(two) == ["Intervals", "Differences", "Verdicts"]
    assert "patients drawn with replacement 1,000 times, seed 3, the same" in two["Intervals"]
    assert "the paired interval of the AUROC excludes 0. They" in two["Verdicts"]
    three = dict(method_of(small_report("a", "b", "c")))
    assert "p after Holm's correction for the 3 pairs" in three["Holm"]
    assert "excludes 0 and p after Holm's correction is below 0.05. They" in three["Verdicts"]


def test_tests_and_calibration_are_explained_where_they_are_shown() -> None:
    report = small_report(measures=(Measure("ece", "ECE"),))
    assert "Calibration" in dict(method_of(report))
    pair = dataclasses.replace(report.pairs[0], mcnemar={"max_f1": {}})
    topics = [topic for topic, _ in method_of(dataclasses.replace(report, pairs=(pair,)))]
    assert topics == ["Intervals", "Differences", "Verdicts", "McNemar", "Calibration"]
