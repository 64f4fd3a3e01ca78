from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from lungdet.evaluation.calibration_estimates import estimate_calibration
from lungdet.evaluation.estimates import PatientDraws
from lungdet.evaluation.predictions import check_predictions, sigmoid
from lungdet.metrics.calibration import brier_score, expected_calibration_error, negative_log_likelihood


def test_intervals_equal_those_of_repeated_rows(predictions: pd.DataFrame) -> None:
    """Each resample computed the slow way: its rows repeated, the library's functions called on them."""
    test = check_predictions(predictions).query("partition == 'test'")
    label, logit = test["label"].to_numpy(), test["logit"].to_numpy(dtype=np.float64)
    draws = PatientDraws(test["patient_id"], n_resamples=40, seed=3)
    found = estimate_calibration(logit, label, draws)
    names = ("brier", "negative_log_likelihood", "ece", "slope", "intercept")
    slow: dict[str, list[float]] = {name: [] for name in names}
    for weights in draws.weights:
        rows = np.repeat(np.arange(len(label)), weights[draws.patient].astype(int))
        y, z = label[rows], logit[rows]
        slow["brier"].append(brier_score(sigmoid(z), y))
        slow["negative_log_likelihood"].append(negative_log_likelihood(z, y))
        slow["ece"].append(expected_calibration_error(sigmoid(z), y))
        slow["slope"].append(sm.Logit(y, sm.add_constant(z)).fit(disp=0).params[1])
        family = sm.families.Binomial()
        slow["intercept"].append(sm.GLM(y, np.ones(len(y)), family=family, offset=z).fit().params[0])
    slow["ece"] = list(np.array(slow["ece"]) - np.mean(slow["ece"]) + found.ece.value)
    for name in names:
        low, high = np.quantile(slow[name], [0.025, 0.975])
        estimate = getattr(found, name)
        # Slope and intercept are resampled on cells of logits: a small part of the interval.
        tolerance = 0.02 * (high - low) if name in {"slope", "intercept"} else 1e-6
        assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=tolerance), name
        assert estimate.low <= estimate.value <= estimate.high


def test_few_distinct_logits_are_resampled_exactly() -> None:
    rng = np.random.default_rng(0)
    logit = rng.integers(-3, 4, 600).astype(float)
    label = (rng.random(600) < sigmoid(logit)).astype(int)
    draws = PatientDraws(np.arange(600) // 20, n_resamples=30, seed=0)
    found = estimate_calibration(logit, label, draws)
    slopes = [
        sm.Logit(label[rows], sm.add_constant(logit[rows])).fit(disp=0, tol=1e-12).params[1]
        for rows in (np.repeat(np.arange(600), w[draws.patient].astype(int)) for w in draws.weights)
    ]
    assert (found.slope.low, found.slope.high) == pytest.approx(tuple(np.quantile(slopes, [0.025, 0.975])), abs=1e-7)


def test_interval_of_the_slope_covers_the_truth() -> None:
    """Patients share a shift of their logits; 95 % intervals of a slope of 1 in 100 cohorts."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(60), 20)
        logit = rng.normal(0, 1.5, 1200) + rng.normal(0, 1, 60)[patient]
        label = (rng.random(1200) < sigmoid(logit)).astype(int)
        slope = estimate_calibration(logit, label, PatientDraws(patient, n_resamples=200, seed=seed)).slope
        covered += slope.low <= 1 <= slope.high
    assert 87 <= covered <= 99


def test_without_data_every_number_says_why() -> None:
    none = np.zeros(0)
    found = estimate_calibration(none, none.astype(int), PatientDraws([], n_resamples=5, seed=0))
    assert math.isnan(found.ece.value)
    assert found.brier.reason == found.slope.reason == found.negative_log_likelihood.reason == "no rows"
    draws = PatientDraws(["a", "b"], n_resamples=5, seed=0)
    one_class = estimate_calibration(np.array([-1.0, -2.0]), np.array([0, 0]), draws)
    assert one_class.slope.reason == one_class.intercept.reason == "no positives"
    assert one_class.brier.value > 0
    apart = estimate_calibration(np.array([-1.0, 1.0]), np.array([0, 1]), draws)
    assert apart.slope.reason == "the classes do not overlap"
    assert apart.intercept.value == pytest.approx(0, abs=1e-9)
    equal = estimate_calibration(np.array([1.0, 1.0]), np.array([0, 1]), draws)
    assert equal.slope.reason == "all logits are equal"
