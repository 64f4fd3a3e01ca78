from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import statsmodels.api as sm
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import binary_calibration_error

from lungdet.errors import ConfigError, ShapeError, TableError
from lungdet.metrics.calibration import (
    Binning,
    brier_score,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_curve,
)

Vector = npt.NDArray[Any]
Pair = tuple[Vector, Vector]


@pytest.fixture(scope="module")
def overconfident() -> Pair:
    rng = np.random.default_rng(0)
    p = rng.random(500)
    return p, (rng.random(500) < 0.25 + 0.5 * p).astype(int)


def by_loop(p: Vector, y: Vector, edges: Vector) -> float:
    error = 0.0
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        rows = [i for i in range(len(p)) if low < p[i] <= high or (k == 0 and p[i] == low)]
        if rows:
            error += len(rows) / len(p) * abs(float(np.mean(p[rows]) - np.mean(y[rows])))
    return error


@pytest.mark.parametrize("n_bins", [1, 7, 15])
def test_error_by_width_equals_a_loop_and_torchmetrics(overconfident: Pair, n_bins: int) -> None:
    p, y = overconfident
    value = expected_calibration_error(p, y, n_bins=n_bins)
    assert value == pytest.approx(by_loop(p, y, np.linspace(0, 1, n_bins + 1)), abs=1e-12)
    reference = binary_calibration_error(torch.tensor(p), torch.tensor(y), n_bins=n_bins)
    assert value == pytest.approx(reference.item(), abs=1e-5)


def test_curve_equals_scikit_learn(overconfident: Pair) -> None:
    p, y = overconfident
    curve = reliability_curve(p, y, n_bins=10)
    observed, predicted = calibration_curve(y, p, n_bins=10)
    np.testing.assert_allclose(curve.observed_fraction, observed)
    np.testing.assert_allclose(curve.mean_probability, predicted)
    assert curve.n_rows.sum() == 500
    assert curve.lower[0] == 0
    assert curve.upper[-1] == 1


def test_bins_by_mass_hold_equally_many_rows(overconfident: Pair) -> None:
    p, y = overconfident
    curve = reliability_curve(p, y, n_bins=5, binning="mass")
    assert curve.n_rows.tolist() == [100] * 5
    value = expected_calibration_error(p, y, n_bins=5, binning="mass")
    ordered = np.argsort(p)
    by_hand = np.mean([abs(p[rows].mean() - y[rows].mean()) for rows in np.split(ordered, 5)])
    assert value == pytest.approx(by_hand, abs=1e-12)


def test_equal_probabilities_share_a_bin() -> None:
    curve = reliability_curve([0.2] * 6 + [0.9] * 2, [0] * 6 + [1] * 2, n_bins=4, binning="mass")
    assert curve.n_rows[curve.n_rows > 0].tolist() == [6, 2]


def test_edges_belong_to_the_lower_bin_and_zero_to_the_first() -> None:
    curve = reliability_curve([0.0, 0.5, 0.5, 1.0], [0, 1, 0, 1], n_bins=2)
    assert curve.n_rows.tolist() == [3, 1]
    assert curve.observed_fraction.tolist() == [pytest.approx(1 / 3), 1.0]


def test_an_empty_bin_is_nan_and_costs_nothing() -> None:
    curve = reliability_curve([0.1, 0.9], [0, 1], n_bins=3)
    assert curve.n_rows.tolist() == [1, 0, 1]
    assert math.isnan(curve.mean_probability[1])
    assert math.isnan(curve.observed_fraction[1])
    assert expected_calibration_error([0.1, 0.9], [0, 1], n_bins=3) == pytest.approx(0.1)


def test_brier_score(overconfident: Pair) -> None:
    p, y = overconfident
    assert brier_score(p, y) == pytest.approx(brier_score_loss(y, p), abs=1e-12)
    assert brier_score([0.5, 0.5], [0, 1]) == 0.25


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_without_rows_nan(binning: Binning) -> None:
    assert math.isnan(expected_calibration_error([], [], binning=binning))
    assert math.isnan(brier_score([], []))


def test_wrong_input_is_named() -> None:
    with pytest.raises(TableError, match=r"probability must be in \[0, 1\], row 1 has 1\.5; logits"):
        brier_score([0.5, 1.5], [0, 1])
    with pytest.raises(TableError, match="row 0 has nan"):
        expected_calibration_error([math.nan], [0])
    with pytest.raises(TableError, match="label must be 0 or 1, row 1 has 2"):
        brier_score([0.5, 0.5], [0, 2])
    with pytest.raises(ShapeError, match="equally long"):
        brier_score([0.5], [0, 1])
    with pytest.raises(ConfigError, match="n_bins must be at least 1, got 0"):
        reliability_curve([0.5], [0], n_bins=0)
    with pytest.raises(ConfigError, match="binning must be 'width' or 'mass', got 'depth'"):
        reliability_curve([0.5], [0], binning="depth")  # type: ignore[arg-type]


def test_log_loss_slope_and_intercept_equal_scikit_learn_and_statsmodels(overconfident: Pair) -> None:
    p, y = overconfident
    logit = np.log(p / (1 - p))
    assert negative_log_likelihood(logit, y) == pytest.approx(log_loss(y, p), abs=1e-10)
    line = sm.Logit(y, sm.add_constant(logit)).fit(disp=0, tol=1e-12)
    assert calibration_slope(logit, y) == pytest.approx(line.params[1], abs=1e-8)
    large = sm.GLM(y, np.ones(len(y)), family=sm.families.Binomial(), offset=logit).fit(tol=1e-14)
    assert calibration_intercept(logit, y) == pytest.approx(large.params[0], abs=1e-8)


def test_extreme_logits_have_a_finite_loss() -> None:
    assert negative_log_likelihood([-800.0, 800.0], [1, 1]) == pytest.approx(400.0)
    assert negative_log_likelihood([800.0], [1]) == 0.0


def test_slope_and_intercept_need_both_classes_and_the_slope_an_overlap() -> None:
    assert math.isnan(calibration_slope([0.0, 1.0], [1, 1]))
    assert math.isnan(calibration_intercept([0.0, 1.0], [1, 1]))
    assert math.isnan(calibration_slope([0.0, 1.0], [0, 1]))
    assert calibration_intercept([0.0, 0.0, 0.0, 0.0], [1, 0, 0, 0]) == pytest.approx(math.log(1 / 3))
    assert math.isnan(negative_log_likelihood([], []))
    with pytest.raises(TableError, match="row 0 has inf"):
        calibration_slope([np.inf], [1])
    with pytest.raises(ShapeError):
        calibration_intercept([0.0], [1, 0])
