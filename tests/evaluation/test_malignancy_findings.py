"""Remarks on what initial weights had seen and on nodules of one size, each with its numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.malignancy_findings import about_initial_weights, about_size_matched
from lungdet.evaluation.results import ClassificationReport, Finding
from lungdet.evaluation.size_results import SizeMatched, SizeMatchedBaseline


@pytest.fixture(scope="module")
def report(simulate: Callable[..., pd.DataFrame]) -> ClassificationReport:
    return evaluate_classification(simulate(n_rows=400), title="t", provenance={}, n_resamples=10)


def on_weights(report: ClassificationReport, **provenance: Any) -> list[Finding]:
    return list(about_initial_weights(dataclasses.replace(report, provenance=provenance)))


def on_size(report: ClassificationReport, auroc: Estimate, *differences: Estimate, n: int = 12) -> Finding:
    baselines = tuple(SizeMatchedBaseline(f"b{i}", Estimate(0.55), each) for i, each in enumerate(differences))
    matched = SizeMatched(0.1, n, 3, 4, auroc, baselines)
    (finding,) = about_size_matched(dataclasses.replace(report, size_matched=matched))
    return finding


def test_weights_of_its_own_need_no_remark(report: ClassificationReport) -> None:
    assert on_weights(report) == []
    assert on_weights(report, seen_by_initial_weights=["P1"]) == [], "nothing was started from"
    assert on_weights(report, initial_weights="runs/a", seen_by_initial_weights=[]) == []


def test_what_nobody_knows_is_a_note(report: ClassificationReport) -> None:
    (found,) = on_weights(report, initial_weights="a.pth")
    assert (found.kind, found.code) == ("note", "initial_weights_unknown")
    assert found.text.startswith("Nobody knows which patients the weights that training started from had seen;")


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (1, "1 patient of validation and test trained the network that this one started from (P0). Train"),
        (5, "5 patients of validation and test trained the network that this one started from (P0, P1, P2, P3, P4). T"),
        (7, "7 patients of validation and test trained the network that this one started from (P0, P1, P2, P3, P4 and "
            "2 more). T"),
    ],
)  # fmt: skip
def test_patients_that_were_seen_are_a_leak(n: int, said: str, report: ClassificationReport) -> None:
    (found,) = on_weights(report, initial_weights="runs/a", seen_by_initial_weights=[f"P{k}" for k in range(n)])
    assert (found.kind, found.code) == ("warning", "initial_weights_leak")
    assert found.text.startswith(said)


def test_without_diameters_nothing_is_said_of_size(report: ClassificationReport) -> None:
    assert report.size_matched is None
    assert list(about_size_matched(report)) == []


def test_no_pairs_is_a_note_without_numbers(report: ClassificationReport) -> None:
    found = on_size(report, Estimate(math.nan, reason="no pairs"), n=0)
    assert (found.kind, found.code) == ("note", "no_size_matched_pairs")
    assert found.text.startswith(
        "No nodule has another candidate of its size: nobody can tell from these rows whether "
    )


def test_better_than_chance_and_than_every_baseline(report: ClassificationReport) -> None:
    found = on_size(report, Estimate(0.75, 0.6, 0.9), Estimate(0.2, 0.01, 0.3), Estimate(0.2, 0.05, 0.3))
    assert (found.kind, found.code) == ("good", "size_matched_better")
    assert found.text == (
        "Within 12 pairs of one size (diameters within 10 %) the AUROC is 0.750 (0.60-0.90), of 'b0' 0.550, of 'b1' "
        "0.550: the model sees more than size."
    )


@pytest.mark.parametrize(
    ("auroc", "difference"),
    [
        (Estimate(0.75, 0.5, 0.9), Estimate(0.2, 0.1, 0.3)),  # just not above chance
        (Estimate(0.75, 0.6, 0.9), Estimate(0.2, 0.0, 0.3)),  # just not above the diameter
        (Estimate(0.75, 0.6, 0.9), Estimate(0.2, reason="one patient")),
    ],
)
def test_what_is_not_shown_is_a_warning(auroc: Estimate, difference: Estimate, report: ClassificationReport) -> None:
    found = on_size(report, auroc, Estimate(0.3, 0.2, 0.4), difference, n=1)
    assert (found.kind, found.code) == ("warning", "size_matched_chance")
    assert found.text.startswith("Within 1 pair of one size")
    assert found.text.endswith("that the model sees more than size is not shown.")


def test_without_an_interval_its_reason_stands_there(report: ClassificationReport) -> None:
    found = on_size(report, Estimate(0.75, reason="positives in one patient only"))
    assert found.kind == "warning"
    assert "the AUROC is 0.750 (positives in one patient only): that" in found.text
