"""Texts and dots beside pooled values: three folds whose numbers are written down here."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pandas as pd
import pytest

from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.estimates import Estimate
from lungdet.evaluation.folds_page import draw_folds, folds_figure, folds_table, pooled_estimates
from lungdet.evaluation.results import ClassificationReport, FoldResult, Folds, OperatingPoint, Spread
from lungdet.evaluation.thresholds import Threshold

EN_DASH = "\u2013"


def fold(number: int, auroc: Estimate) -> FoldResult:
    brier, none = Estimate(0.1, 0.05, 0.2), Estimate(math.nan, reason="no positives")
    return FoldResult(number, 8, 100, 5, auroc, Estimate(0.5, 0.4, 0.6), brier, 0.0, none)


@pytest.fixture(scope="module")
def report(simulate: Callable[..., pd.DataFrame]) -> ClassificationReport:
    plain = evaluate_classification(simulate(n_rows=400), title="t", provenance={}, n_resamples=10)
    folds = (fold(0, Estimate(0.8, 0.7, 0.9)), fold(2, Estimate(math.nan, reason="no positives")))
    spread = {
        "auroc": Spread(0.8, math.nan, 1),
        "average_precision": Spread(0.5, 0.0, 2),
        "brier": Spread(0.12345, 0.00004, 2),
        "sensitivity": Spread(math.nan, math.nan, 0),
    }
    return dataclasses.replace(plain, folds=Folds("test", False, folds, spread))


def test_the_table_has_a_text_for_every_column(report: ClassificationReport) -> None:
    table = folds_table(report)
    assert table["columns"] == [
        ("auroc", "AUROC", 3),
        ("average_precision", "Average precision", 3),
        ("brier", "Brier, raw", 4),
        ("sensitivity", "Sensitivity", 2),
    ]
    assert table["mean"] == {"auroc": "0.800", "average_precision": "0.500", "brier": "0.1235", "sensitivity": EN_DASH}
    assert table["sd"] == {"auroc": EN_DASH, "average_precision": "0.000", "brier": "0.0000", "sensitivity": EN_DASH}
    assert [row.fold for row in table["rows"]] == [0, 2]
    assert set(table["pooled"]) == set(FoldResult.ESTIMATES)


def test_calibrated_folds_are_beside_the_calibrated_pooled_score(report: ClassificationReport) -> None:
    assert report.folds is not None
    judged = dataclasses.replace(report.calibration["test"], brier=Estimate(0.0123))
    changed = dataclasses.replace(
        report, calibrated={"test": judged}, folds=dataclasses.replace(report.folds, is_calibrated=True)
    )
    assert folds_table(changed)["columns"][2][1] == "Brier, calibrated"
    assert pooled_estimates(changed)["brier"].value == 0.0123
    raw = pooled_estimates(dataclasses.replace(changed, calibrated={}))["brier"]
    assert raw == report.calibration["test"].brier


def test_pooled_values_are_those_of_the_report(report: ClassificationReport) -> None:
    pooled = pooled_estimates(report)
    assert pooled["auroc"] == report.ranking["test"].auroc
    assert pooled["average_precision"] == report.ranking["test"].average_precision
    assert pooled["sensitivity"] == report.operating_points["recall_90"].on["test"].recall


def test_a_threshold_that_could_not_be_chosen_says_why(report: ClassificationReport) -> None:
    point = OperatingPoint(Threshold("recall_90", "r", math.nan, "val", "no validation rows"), {})
    found = pooled_estimates(dataclasses.replace(report, operating_points={"recall_90": point}))["sensitivity"]
    assert math.isnan(found.value)
    assert found.reason == "no validation rows"


def test_dots_intervals_and_two_lines_a_panel(report: ClassificationReport) -> None:
    auroc, precision = draw_folds(report).axes
    assert [axes.get_title() for axes in (auroc, precision)] == ["AUROC", "Average precision"]
    assert [tick.get_text() for tick in auroc.get_xticklabels()] == ["fold 0", "fold 2"]
    dot, interval, no_dot, _, pooled, mean = (list(map(float, line.get_ydata())) for line in auroc.lines)  # type: ignore[arg-type]
    assert (dot, interval) == ([0.8], [0.7, 0.9])
    assert math.isnan(no_dot[0])
    assert pooled == [report.ranking["test"].auroc.value] * 2
    assert mean == [0.8] * 2
    assert [list(line.get_xdata()) for line in precision.lines[2:4]] == [[1], [1, 1]]  # type: ignore[arg-type]


def test_the_figure_on_the_page(report: ClassificationReport) -> None:
    figure = folds_figure(report)
    assert figure["name"] == "folds"
    assert figure["svg"].startswith("<svg")
    assert "The solid line is the value over the rows of all folds together" in figure["caption"]
    with pytest.raises(AssertionError, match="only called with several folds"):
        folds_table(dataclasses.replace(report, folds=None))
