"""Which parts a page has, and which only where there is something to show; `test_files` reads a whole one."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest
from tests.comparison.small_report import different, small_report
from tests.pages import Page, assert_self_contained

from lungdet.comparison.disagreement import Disagreement
from lungdet.comparison.page import render_page
from lungdet.comparison.results import ComparisonReport

CURVES = pd.DataFrame(
    [
        {"run": run, "curve": curve, "x": x, "y": x}
        for run in "ab"
        for curve in ("roc", "precision_recall", "froc")
        for x in (0.125, 1.0)
    ]
)


@pytest.fixture
def report() -> ComparisonReport:
    return small_report(verdicts={("a", "b"): different("b")})


def test_the_smallest_page(report: ComparisonReport) -> None:
    html = render_page(report)
    assert_self_contained(html)
    page = Page(html)
    assert "figure-overview" in page.ids
    assert {"verdicts", "measures", "differences", "settings", "method"} <= set(page.ids)
    assert not {"curves", "training", "disagreements", "figure-roc", "figure-froc"} & set(page.ids)
    assert "AUROC, b" in page.text, "a tile a run"
    assert "none: no rows" in page.text
    assert html == render_page(report)


def test_more_than_four_runs_have_no_tiles_and_their_pairs_are_folded() -> None:
    four, five = (render_page(small_report(*"abcde"[:n])) for n in (4, 5))
    assert "AUROC, d" in four
    assert "AUROC, d" not in five
    assert "<details>" in four
    assert "<details open>" in render_page(small_report("a", "b", "c"))


def test_curves_and_their_captions(report: ComparisonReport) -> None:
    at = {"roc": (0.5, 0.5), "precision_recall": (0.5, 0.5)}
    points = {name: {"recall_90": at, "max_f1": at} for name in "ab"}
    page = Page(render_page(dataclasses.replace(report, curves=CURVES, points=points, prevalence=0.1)))
    assert {"curves", "figure-roc", "figure-precision-recall", "figure-froc"} <= set(page.ids)
    assert "Dots: where each run calls, at recall ≥ 0.9 and largest F1 (chosen on its own validation rows)" in page.text
    assert "FROC counted in candidates" in page.text


def test_froc_over_scans_is_that_of_the_challenge(report: ComparisonReport) -> None:
    curves = CURVES[CURVES["curve"] == "froc"].assign(curve="froc_scans")
    page = Page(render_page(dataclasses.replace(report, curves=curves)))
    assert "FROC by the rules of the LUNA16 challenge." in page.text
    assert "figure-roc" not in page.ids


def test_learning_of_whoever_logged_it(report: ComparisonReport) -> None:
    histories = {"a": pd.DataFrame({"epoch": [0, 1], "val/average_precision": [0.1, 0.2]}), "b": pd.DataFrame()}
    page = Page(render_page(dataclasses.replace(report, histories=histories)))
    assert {"training", "figure-learning-val-average-precision"} <= set(page.ids)
    assert "figure-learning-val-auroc" not in page.ids


@pytest.mark.parametrize(("diameter", "shown"), [(7.26, "7.3 mm"), (math.nan, "\u2013")])
def test_disagreements_without_pixels_say_why(diameter: float, shown: str, report: ComparisonReport) -> None:
    row = {
        "series_uid": "1.2", "patient_id": "P1", "candidate_id": 3, "label": 1, "diameter_mm": diameter,
        "center_x_mm": 1.0, "center_y_mm": -2.25, "center_z_mm": 3.0,
    }  # fmt: skip
    both = {"a": 0.1, "b": 0.9}
    item = Disagreement(row, both, {"a": 10.0, "b": 90.0}, 80.0, problem="no scan there")
    page = Page(render_page(dataclasses.replace(report, disagreements={"positives": (item,)})))
    assert "disagreements" in page.ids
    assert shown in page.text
    assert "1.0, -2.2, 3.0" in page.text
    assert "no scan there" in page.text
