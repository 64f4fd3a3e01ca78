"""Curves of tables with five rows, counted by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from lungdet.comparison.curves import comparison_curves, froc_sensitivities


def table(label: list[int], logit: list[float], series: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {"label": label, "logit": logit, "series_uid": series or ["1"] * len(label), "partition": "test"}
    )


# From the top: hit, miss, hit, miss, miss; two series.
FIVE = table([1, 0, 1, 0, 0], [5.0, 4.0, 3.0, 2.0, 1.0], ["1", "1", "2", "2", "1"])


def test_roc_and_precision_recall_of_each_run() -> None:
    curves = comparison_curves({"a": FIVE, "b": FIVE.assign(logit=-FIVE["logit"])}, with_froc=False)
    assert list(curves) == ["run", "curve", "x", "y"]
    assert set(curves["curve"]) == {"roc", "precision_recall"}
    roc = curves[(curves["run"] == "a") & (curves["curve"] == "roc")]
    points = list(zip((3 * roc["x"]).round(9), 2 * roc["y"], strict=True))
    assert points == [(0, 0), (0, 1), (1, 1), (1, 2), (3, 2)], "false positives and hits; between hits nothing bends"
    assert set(curves["run"]) == {"a", "b"}


def test_froc_counts_candidates_per_series() -> None:
    """Half a false positive a series is the one at 4.0, where one of two nodules was found; then both."""
    found = froc_sensitivities({"a": FIVE})["a"]
    assert list(found) == ["0.125", "0.25", "0.5", "1", "2", "4", "8", "mean"]
    assert found["2"] == found["8"] == 1.0, "three false positives in two series are 1.5 a series"
    assert found["0.125"] == 0.5, "one nodule before any false positive"
    assert found["mean"] == pytest.approx(sum(v for k, v in found.items() if k != "mean") / 7)


def test_froc_is_a_curve_beside_the_others() -> None:
    curves = comparison_curves({"a": FIVE}, with_froc=True)
    froc = curves[curves["curve"] == "froc"]
    assert froc["y"].is_monotonic_increasing
    assert (froc["x"].min(), froc["x"].max()) == (0.125, 8)
    assert froc["y"].iloc[-1] == 1


@pytest.mark.parametrize("label", [0, 1])
def test_without_both_classes_there_are_no_curves(label: int) -> None:
    one_class = table([label] * 3, [1.0, 2.0, 3.0])
    for with_froc in (False, True):
        curves = comparison_curves({"a": one_class, "b": one_class}, with_froc=with_froc)
        assert curves.empty
        assert list(curves) == ["run", "curve", "x", "y"]
    assert froc_sensitivities({"a": one_class}) == {}


def test_no_rows_have_no_curves() -> None:
    assert comparison_curves({"a": FIVE.iloc[:0]}, with_froc=True).empty


def test_one_row_of_each_class() -> None:
    found = froc_sensitivities({"good": table([1, 0], [1.0, 0.0]), "bad": table([1, 0], [0.0, 1.0])})
    assert set(found["good"].values()) == {1.0}
    assert found["bad"]["8"] == 1.0
    assert found["bad"]["0.125"] < 1
    assert not any(math.isnan(value) for row in found.values() for value in row.values())
