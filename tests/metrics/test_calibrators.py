from __future__ import annotations

import json
import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from lungdet.errors import ConfigError, ShapeError, TableError
from lungdet.metrics.calibration import brier_score, negative_log_likelihood
from lungdet.metrics.calibrators import (
    LEAST_PROBABILITY,
    CalibrationMethod,
    Isotonic,
    Platt,
    Temperature,
    calibrator_from_dict,
    fit_calibrator,
)

METHODS: tuple[CalibrationMethod, ...] = ("temperature", "platt", "isotonic")


def shifted_scores(n: int = 3000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits of a network that saw half positives, on rows where one in twelve is positive; float32, with ties."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 1 / 12).astype(int)
    logit = np.round(rng.normal(-1.0, 2.0, n) + 3.0 * label, 2)
    return logit.astype(np.float32), label


def test_platt_equals_scikit_learn_and_statsmodels() -> None:
    logit, label = shifted_scores()
    ours = fit_calibrator("platt", logit, label)
    assert isinstance(ours, Platt)
    design = logit.astype(np.float64)
    reference = sm.Logit(label, sm.add_constant(design)).fit(disp=0, tol=1e-12)
    assert [ours.intercept, ours.slope] == pytest.approx(list(reference.params), abs=1e-8)
    other = LogisticRegression(C=np.inf, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    other.fit(design[:, None], label)
    np.testing.assert_allclose(ours.probability(logit), other.predict_proba(design[:, None])[:, 1], atol=1e-6)
    assert not ours.smoothed
    assert ours.probability(logit).mean() == pytest.approx(label.mean(), abs=1e-10)


def test_temperature_is_the_maximum_of_the_likelihood() -> None:
    logit, label = shifted_scores()
    ours = fit_calibrator("temperature", logit, label)
    assert isinstance(ours, Temperature)
    found = minimize_scalar(
        lambda t: negative_log_likelihood(logit / t, label),
        bounds=(0.05, 50),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert ours.temperature == pytest.approx(found.x, abs=1e-5)
    reference = sm.GLM(label, logit.astype(float)[:, None], family=sm.families.Binomial()).fit(tol=1e-14)
    assert 1 / ours.temperature == pytest.approx(reference.params[0], abs=1e-8)


@pytest.mark.parametrize("n", [2, 7, 3000])
def test_isotonic_equals_scikit_learn(n: int) -> None:
    logit, label = shifted_scores(n)
    label[:2] = 0, 1
    ours = fit_calibrator("isotonic", logit, label)
    reference = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(logit.astype(float), label)
    asked = np.concatenate([logit.astype(float), np.linspace(-20, 20, 1001)])
    np.testing.assert_allclose(ours.probability(asked), reference.predict(asked), atol=1e-6)
    assert ours.probability(logit).mean() == pytest.approx(label.mean(), abs=1e-10)


def test_isotonic_by_hand_pools_what_falls() -> None:
    ours = fit_calibrator("isotonic", [0.0, 1.0, 2.0, 3.0, 3.0], [0, 1, 0, 1, 1])
    assert ours == Isotonic((0.0, 1.0, 2.0, 3.0), (0.0, 0.5, 0.5, 1.0))
    assert ours.probability([-9.0, 0.5, 1.5, 2.5, 9.0]).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert ours.logit([-9.0, 9.0]) == pytest.approx(math.log(LEAST_PROBABILITY) * np.array([1, -1]), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_comes_back_equal(method: CalibrationMethod) -> None:
    logit, label = shifted_scores()
    ours = fit_calibrator(method, logit, label)
    back = calibrator_from_dict(json.loads(json.dumps(ours.to_dict())))
    assert back == ours
    assert back.method == method
    np.testing.assert_array_equal(back.probability(logit), ours.probability(logit))


@pytest.mark.parametrize("method", METHODS)
def test_probability_rises_and_agrees_with_its_logit(method: CalibrationMethod) -> None:
    ours = fit_calibrator(method, *shifted_scores())
    x = np.linspace(-60, 60, 2001)
    probability, logit = ours.probability(x), ours.logit(x)
    assert (np.diff(probability) >= 0).all()
    assert np.isfinite(logit).all()
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), probability, atol=2 * LEAST_PROBABILITY)


def test_only_an_intercept_undoes_a_shifted_prior() -> None:
    rng = np.random.default_rng(3)
    label = (rng.random(20_000) < 0.02).astype(int)
    # A well calibrated network trained with as many positives as negatives: class means +-1, variance 2.
    logit = rng.normal(0, math.sqrt(2), 20_000) + np.where(label == 1, 1.0, -1.0)
    platt, temperature = fit_calibrator("platt", logit, label), fit_calibrator("temperature", logit, label)
    assert isinstance(platt, Platt)
    assert platt.slope == pytest.approx(1.0, abs=0.1)
    assert platt.intercept == pytest.approx(math.log(0.02 / 0.98), abs=0.15)
    assert brier_score(platt.probability(logit), label) < 0.5 * brier_score(temperature.probability(logit), label)


@pytest.mark.parametrize("method", ["temperature", "platt"])
@pytest.mark.parametrize("ties", [False, True])
def test_separable_classes_do_not_diverge(method: CalibrationMethod, ties: bool) -> None:
    logit = np.array([-3.0, -2.0, -1.0, 1.0, 2.0])
    label = np.array([0, 0, 0, 1, 1])
    if ties:
        logit = np.append(logit, [0.0, 0.0])
        label = np.append(label, [0, 1])
    ours = fit_calibrator(method, logit, label)
    assert isinstance(ours, Temperature | Platt)
    assert ours.smoothed
    # Platt's targets: no row is given more than (P + 1) / (P + 2) by much, however far apart the classes lie.
    far = fit_calibrator(method, 1000 * logit, label)
    np.testing.assert_allclose(far.probability(1000 * logit), ours.probability(logit), atol=1e-6)
    assert 0.6 < ours.probability([2.0])[0] < 0.95


def test_softened_labels_are_those_of_platt() -> None:
    logit, label = np.array([-2.0, -1.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1, 1])
    ours = fit_calibrator("platt", logit, label)
    soft = np.where(label == 1, 4 / 5, 1 / 4)
    reference = sm.GLM(soft, sm.add_constant(logit), family=sm.families.Binomial()).fit(tol=1e-14)
    assert isinstance(ours, Platt)
    assert [ours.intercept, ours.slope] == pytest.approx(list(reference.params), abs=1e-6)


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_a_reversed_ranking_is_refused(method: CalibrationMethod) -> None:
    label = np.repeat([0, 1], 200)
    logit = np.random.default_rng(0).normal(0, 1, 400) - 0.5 * np.sign(label - 0.5)
    with pytest.raises(TableError, match="positives"):
        fit_calibrator(method, logit, label)
    with pytest.raises(TableError, match="positives"):
        fit_calibrator(method, [1.0, 1.0, -1.0, -1.0], [0, 0, 1, 1])
    with pytest.raises(TableError):
        fit_calibrator(method, [0.0, 0.0, 0.0], [0, 0, 1])


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_fitted_says_why(method: CalibrationMethod) -> None:
    with pytest.raises(TableError, match="no positives to fit a calibration on"):
        fit_calibrator(method, [0.0, 1.0], [0, 0])
    with pytest.raises(TableError, match="no negatives"):
        fit_calibrator(method, [0.0, 1.0], [1, 1])
    with pytest.raises(TableError, match="no rows"):
        fit_calibrator(method, [], [])
    with pytest.raises(TableError, match="row 1 has inf"):
        fit_calibrator(method, [0.0, np.inf], [0, 1])
    with pytest.raises(TableError, match="label must be 0 or 1, row 1 has 2"):
        fit_calibrator(method, [0.0, 1.0], [0, 2])
    with pytest.raises(ShapeError):
        fit_calibrator(method, [0.0], [0, 1])


def test_unknown_methods_and_damaged_records_are_refused() -> None:
    with pytest.raises(ConfigError, match="temperature, platt, isotonic"):
        fit_calibrator("plat", [0.0, 1.0], [0, 1])  # type: ignore[arg-type]
    for record in (
        {"method": "beta"},
        {"method": "platt", "slope": 1.0},
        {"method": "platt", "slope": -1.0, "intercept": 0.0},
        {"method": "platt", "slope": 1.0, "intercept": "high"},
        {"method": "temperature", "temperature": 0.0},
        {"method": "isotonic", "knot_logit": [0.0, 0.0], "knot_probability": [0.1, 0.2]},
        {"method": "isotonic", "knot_logit": [0.0, 1.0], "knot_probability": [0.3, 0.2]},
        {"method": "isotonic", "knot_logit": [], "knot_probability": []},
    ):
        with pytest.raises(TableError, match="calibration"):
            calibrator_from_dict(record)
