"""Intervals over patients, not rows; what they say when there is nothing to resample."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lungdet.evaluation import estimates
from lungdet.evaluation.estimates import PatientDraws
from lungdet.evaluation.thresholds import HALF


def test_draws_are_as_many_patients_as_there_are_and_depend_on_the_seed() -> None:
    patients = ["b", "a", "b", "c", "a"]
    draws = PatientDraws(patients, n_resamples=500, seed=3)
    assert draws.patient.tolist() == [1, 0, 1, 2, 0]
    assert (draws.weights.sum(axis=1) == 3).all()
    np.testing.assert_allclose(draws.weights.mean(axis=0), [1, 1, 1], atol=0.15)
    np.testing.assert_array_equal(draws.weights, PatientDraws(patients, n_resamples=500, seed=3).weights)
    assert (draws.weights != PatientDraws(patients, n_resamples=500, seed=4).weights).any()


def test_ratio_interval_is_that_of_explicit_resampling() -> None:
    rng = np.random.default_rng(0)
    patient = rng.integers(0, 12, 300)
    part, whole = rng.integers(0, 2, 300), np.ones(300)
    draws = PatientDraws(patient.astype(str), n_resamples=300, seed=0)
    names = sorted(set(patient.astype(str)))
    ratios = []
    for weight in draws.weights:
        rows = np.concatenate([np.repeat(np.flatnonzero(patient.astype(str) == n), 1) for n in _repeat(names, weight)])
        ratios.append(part[rows].sum() / whole[rows].sum())
    found = draws.ratio(part, whole, reason="")
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(ratios, [2.5, 97.5])))
    assert found.value == part.mean()
    assert found.width == found.high - found.low


def _repeat(names: list[str], weight: np.ndarray) -> list[str]:
    return [name for name, n in zip(names, weight, strict=True) for _ in range(int(n))]


def test_correlated_rows_give_a_wider_interval_than_independent_ones() -> None:
    """Ten patients whose 50 rows all agree know no more than ten rows: sqrt(50) times wider than 500 free rows."""
    outcome = np.repeat([0, 1] * 5, 50)
    patients = np.repeat([f"p{i}" for i in range(10)], 50)
    together = PatientDraws(patients, n_resamples=2000, seed=0).ratio(outcome, np.ones(500), reason="")
    apart = PatientDraws([str(i) for i in range(500)], n_resamples=2000, seed=0).ratio(outcome, np.ones(500), reason="")
    assert 5 < together.width / apart.width < 9


def test_all_or_none_is_wilsons_interval() -> None:
    """Eight of eight: Wilson gives 8 / (8 + 1.96^2) = 0.676 to 1; none of eight mirrors it."""
    draws = PatientDraws(list("aabbccdd"), n_resamples=100, seed=0)
    everything = draws.ratio(np.ones(8), np.ones(8), reason="")
    assert (everything.value, everything.high) == (1.0, 1.0)
    assert everything.low == pytest.approx(8 / (8 + 1.959964**2), abs=1e-6)
    nothing = draws.ratio(np.zeros(8), np.ones(8), reason="")
    assert (nothing.value, nothing.low) == (0.0, 0.0)
    assert nothing.high == pytest.approx(1 - everything.low)


def test_an_empty_denominator_says_why() -> None:
    found = PatientDraws(["a", "b"], n_resamples=10, seed=0).ratio(np.zeros(2), np.zeros(2), reason="nothing is called")
    assert math.isnan(found.value)
    assert found.reason == "nothing is called"


def test_without_variation_between_patients_there_is_no_interval() -> None:
    one = PatientDraws(["a", "a"], n_resamples=10, seed=0)
    assert one.estimate(0.7, np.full(10, 0.7)).reason == "a single patient cannot be resampled"
    two = PatientDraws(["a", "b"], n_resamples=10, seed=0)
    assert two.estimate(0.7, np.full(10, np.nan)).reason == "no resample has the data"
    assert two.area(0.7, np.full(10, 0.7), label=np.array([1, 0])).reason == "positives in one patient only"
    assert math.isnan(two.area(0.7, np.full(10, 0.7), label=np.array([1, 0])).low)
    found = two.area(0.7, np.array([0.6, np.nan, 0.8]), label=np.array([1, 1]))
    assert (found.low, found.high) == pytest.approx((0.605, 0.795))


def test_no_rows_at_all() -> None:
    draws = PatientDraws([], n_resamples=5, seed=0)
    assert draws.weights.shape == (5, 0)
    empty = np.zeros(0, dtype=np.int64)
    found = draws.at_threshold(empty, empty.astype(float), threshold=HALF, n_series=0)
    assert found.recall.reason == "no positives"
    assert math.isnan(found.fp_per_series)


def test_the_draws_are_those_of_one_call_whatever_is_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the digits of reports stay what they were when all resamples were drawn together."""
    drawn = np.random.default_rng(7).integers(0, 13, size=(40, 13))
    expected = np.stack([np.bincount(row, minlength=13) for row in drawn])
    for at_once in (1, 100, 1 << 20):
        monkeypatch.setattr(estimates, "_DRAWS_AT_ONCE", at_once)
        weights = PatientDraws(np.arange(13), n_resamples=40, seed=7).weights
        np.testing.assert_array_equal(weights, expected)
        assert weights.dtype == np.float64
    assert PatientDraws([], n_resamples=40, seed=7).weights.shape == (40, 0)
