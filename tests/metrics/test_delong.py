"""DeLong by midranks against the structural components written out, published values and simulated truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lungdet.errors import ShapeError, TableError
from lungdet.metrics.delong import delong_difference, delong_variance
from lungdet.metrics.ranking import auroc


def plain_delong(label: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of a positive and a negative, as DeLong et al. (1988) write it: areas [K], covariance [K, K]."""
    positive, negative = scores[:, label == 1], scores[:, label == 0]
    wins = (positive[:, :, None] > negative[:, None, :]) + 0.5 * (positive[:, :, None] == negative[:, None, :])
    of_positives, of_negatives = wins.mean(axis=2), wins.mean(axis=1)
    covariance = np.cov(of_positives) / positive.shape[1] + np.cov(of_negatives) / negative.shape[1]
    return wins.mean(axis=(1, 2)), covariance


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rounded=st.booleans())
def test_agrees_with_the_structural_components(seed: int, rounded: bool) -> None:
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat([0, 1], [rng.integers(3, 60), rng.integers(3, 20)]))
    scores = rng.normal(size=(2, label.size)) + label
    scores[1] += scores[0] * rng.uniform(0, 2)
    if rounded:  # ties within and across the classes
        scores = scores.round()
    area, covariance = plain_delong(label, scores)
    result = delong_difference(label, *scores)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert [result.first.auroc, result.second.auroc] == pytest.approx(area, abs=1e-12)
    assert result.first.standard_error == pytest.approx(math.sqrt(covariance[0, 0]), abs=1e-9)
    assert result.standard_error == pytest.approx(error, abs=1e-9)
    assert result.difference == pytest.approx(area[1] - area[0], abs=1e-12)
    if error > 1e-6:
        assert result.z == pytest.approx((area[1] - area[0]) / error, abs=1e-6)
        assert result.p == pytest.approx(2 * stats.norm.sf(abs(area[1] - area[0]) / error), abs=1e-6)
        assert result.high - result.low == pytest.approx(2 * stats.norm.ppf(0.975) * error, abs=1e-9)
    one = delong_variance(label, scores[1])
    assert one.standard_error == pytest.approx(result.second.standard_error, abs=1e-12)
    assert one.auroc == pytest.approx(auroc(label, scores[1]), abs=1e-12)


def test_by_hand() -> None:
    # Positives 3, 1; negatives 2, 0: three of four pairs are won. Placements of positives 1, 1/2, of negatives 1/2, 1.
    # Both variances are 1/8, each divided by 2 rows: 1/8 in all.
    one = delong_variance([1, 1, 0, 0], [3, 1, 2, 0])
    assert one.auroc == 0.75
    assert one.standard_error == pytest.approx(math.sqrt(0.125), abs=1e-12)
    assert one.low == pytest.approx(0.75 - 1.959964 * math.sqrt(0.125), abs=1e-6)
    assert one.high == 1


def test_clusters_of_one_row_change_nothing_and_copies_of_rows_no_error() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], [40, 20])
    scores = rng.normal(size=(2, 60)) + label
    plain = delong_difference(label, *scores)
    assert delong_difference(label, *scores, cluster=rng.permutation(60)) == plain
    # Every row four times: no more information. Rows taken as independent claim half the error, patients do not.
    four = [np.repeat(a, 4) for a in (label, *scores)]
    assert delong_difference(*four, cluster=np.repeat(np.arange(60), 4)).standard_error == pytest.approx(
        plain.standard_error, rel=1e-9
    )
    assert delong_difference(*four).standard_error == pytest.approx(plain.standard_error / 2, rel=0.03)


def test_clustered_error_is_the_spread_over_repeated_cohorts() -> None:
    """Patients whose nodules are all easy or all hard: Obuchowski's error is right, DeLong's is too small."""
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(40), 12)
    label = np.tile([1, 1, 1, *[0] * 9], 40)
    areas, clustered, plain = [], [], []
    for _ in range(400):
        score = rng.normal(size=480) + label * (1 + 1.5 * rng.normal(size=40)[patient])
        one = delong_variance(label, score, cluster=patient)
        areas.append(one.auroc)
        clustered.append(one.standard_error)
        plain.append(delong_variance(label, score).standard_error)
    assert np.mean(clustered) == pytest.approx(np.std(areas), rel=0.08)
    assert np.mean(plain) < 0.75 * np.std(areas)


def test_scores_that_rank_alike_do_not_differ() -> None:
    label, score = [0, 0, 1, 1, 1], np.array([0.1, 0.7, 0.3, 0.8, 0.9])
    result = delong_difference(label, score, np.exp(3 * score))
    assert (result.difference, result.standard_error, result.z, result.p) == (0, 0, 0, 1)
    assert (result.low, result.high) == (0, 0)


def test_what_has_no_data_is_nan() -> None:
    assert math.isnan(delong_variance([1, 1], [0.2, 0.3]).auroc)
    only = delong_variance([1, 0, 0], [0.2, 0.3, 0.1])
    assert only.auroc == 0.5
    assert math.isnan(only.standard_error)
    assert math.isnan(only.low)
    several = delong_variance([1, 1, 0, 0], [0.2, 0.3, 0.1, 0.4], cluster=["a", "a", "a", "b"])
    assert math.isnan(several.standard_error)


def test_refuses_what_is_no_score() -> None:
    with pytest.raises(TableError, match="row 1 has 2"):
        delong_variance([1, 2], [0.1, 0.2])
    with pytest.raises(TableError, match="NaN in row 1"):
        delong_difference([1, 0], [0.1, 0.2], [0.1, math.nan])
    with pytest.raises(ShapeError, match="same rows"):
        delong_difference([1, 0], [0.1, 0.2], [0.1])
    with pytest.raises(ShapeError, match="cluster has 3 rows"):
        delong_variance([1, 0], [0.1, 0.2], cluster=[0, 1, 2])
