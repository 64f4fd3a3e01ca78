"""Points of the ROC curve by hand, and their intervals against tables that are really resampled."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_curve

from lungdet.evaluation.estimates import PatientDraws
from lungdet.evaluation.roc_points import roc_point
from lungdet.evaluation.thresholds import choose_thresholds


def rows(label: list[int], logit: list[float], patient: list[str] | None = None) -> pd.DataFrame:
    patient = [f"p{i}" for i in range(len(label))] if patient is None else patient
    return pd.DataFrame({"label": label, "logit": np.array(logit, np.float32), "patient_id": patient})


def drawn(table: pd.DataFrame, n: int = 50) -> PatientDraws:
    return PatientDraws(table["patient_id"], n_resamples=n, seed=0)


def noisy(n: int = 120, seed: int = 3) -> pd.DataFrame:
    """Rounded scores, so that many are equal; a patient has about three rows."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    return rows(
        label.tolist(),
        (np.round(2 * rng.normal(label, 1.0, n)) / 2).tolist(),
        [f"p{i}" for i in rng.integers(0, n // 3, n)],
    )


def test_by_hand_with_a_tie() -> None:
    """From the top: + at 5, - at 4, + and - at 3, + at 2, - at 1. Two of three positives are reached at 3."""
    table = rows([1, 0, 1, 0, 1, 0], [5, 4, 3, 3, 2, 1])
    point, _ = roc_point(table, drawn(table), aim=0.6)
    assert [point.logit, point.sensitivity, point.specificity.value] == pytest.approx([3, 2 / 3, 1 / 3])
    point, _ = roc_point(table, drawn(table), aim=2 / 3 + 0.01)
    assert [point.logit, point.sensitivity, point.specificity.value] == pytest.approx([2, 1, 1 / 3])
    point, _ = roc_point(table, drawn(table), aim=0.1)
    assert (point.logit, point.specificity.value) == (5, 1)


def test_nine_of_ten_is_a_sensitivity_of_point_nine() -> None:
    table = rows([1] * 10 + [0], [*range(10, 0, -1), 1.5])
    assert roc_point(table, drawn(table), aim=0.9)[0].specificity.value == 1


@pytest.mark.parametrize("aim", [0.5, 0.9, 0.97, 1.0])
def test_the_point_is_that_of_scikit_learns_curve_and_of_the_chosen_threshold(aim: float) -> None:
    table = noisy()
    point, _ = roc_point(table, drawn(table), aim=aim)
    false_rate, true_rate, _ = roc_curve(table["label"], table["logit"], drop_intermediate=False)
    assert point.specificity.value == pytest.approx(1 - false_rate[true_rate >= aim - 1e-12].min())
    *_, chosen = choose_thresholds(table["label"], table["logit"], recalls=[aim]).values()
    assert point.logit == chosen.logit


def test_samples_are_those_of_resampled_tables() -> None:
    table = noisy()
    draws = drawn(table, 60)
    point, samples = roc_point(table, draws, aim=0.9)
    expected = []
    for weight in draws.weights:
        again = table.loc[np.repeat(np.arange(len(table)), weight[draws.patient].astype(int))]
        false_rate, true_rate, _ = roc_curve(again["label"], again["logit"], drop_intermediate=False)
        expected.append(1 - false_rate[true_rate >= 0.9 - 1e-12].min())
    np.testing.assert_allclose(samples, expected, atol=1e-12)
    low, high = np.quantile(expected, [0.025, 0.975])
    assert [point.specificity.low, point.specificity.high] == pytest.approx([low, high])


def test_order_of_rows_changes_nothing() -> None:
    table = noisy()
    mixed = table.sample(frac=1, random_state=1, ignore_index=True)
    np.testing.assert_allclose(
        roc_point(table, drawn(table), aim=0.9)[1], roc_point(mixed, drawn(mixed), aim=0.9)[1], atol=1e-12
    )


def test_a_perfect_ranking_is_not_certain() -> None:
    """Every resample says 1, so percentiles would, too; Wilson's interval over 20 negatives does not."""
    table = rows([1] * 20 + [0] * 20, [5.0] * 20 + [1.0] * 20)
    point, _ = roc_point(table, drawn(table), aim=0.97)
    assert point.specificity.value == point.specificity.high == 1
    assert point.specificity.low == pytest.approx(1 / (1 + 1.959964**2 / 20), abs=1e-6)


def test_what_cannot_be_read_says_why() -> None:
    for label, reason in (([0, 0], "no positives"), ([1, 1], "no negatives"), ([], "no rows")):
        table = rows(label, [0.0] * len(label))
        point, samples = roc_point(table, drawn(table), aim=0.9)
        assert point.specificity.reason == reason
        assert math.isnan(point.logit)
        assert math.isnan(point.sensitivity)
        assert len(samples) == 50
        assert np.isnan(samples).all()
    one = rows([1, 1, 0, 0], [3, 2, 1, 0], ["a", "a", "b", "c"])
    point, samples = roc_point(one, drawn(one), aim=0.9)
    assert point.specificity.reason == "positives in one patient only"
    assert point.specificity.value == 1
    assert np.isnan(samples).any(), "resamples without the patient"
