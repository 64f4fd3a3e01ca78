from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import statsmodels.api as sm

from lungdet.metrics.logistic import fit_line, fit_scale, fit_shift


@pytest.fixture(scope="module")
def counts() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ten logits, and three weightings of rows at each of them."""
    rng = np.random.default_rng(0)
    logit = np.sort(rng.normal(2.0, 3.0, 10))
    rows = rng.integers(1, 40, (3, 10)).astype(float)
    positives = rng.binomial(rows.astype(int), 1 / (1 + np.exp(-0.4 * logit + 1))).astype(float)
    return logit, positives, rows


def binomial(
    positives: np.ndarray, rows: np.ndarray, design: np.ndarray, offset: np.ndarray | None = None
) -> list[float]:
    """Statsmodels on counts."""
    endog = np.stack([positives, rows - positives], axis=1)
    return list(sm.GLM(endog, design, family=sm.families.Binomial(), offset=offset).fit(tol=1e-14).params)


def test_every_weighting_equals_statsmodels(counts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logit, positives, rows = counts
    slope, intercept = fit_line(logit, positives, rows)
    scale, shift = fit_scale(logit, positives, rows), fit_shift(logit, positives, rows)
    for i in range(3):
        assert [intercept[i], slope[i]] == pytest.approx(
            binomial(positives[i], rows[i], sm.add_constant(logit)), abs=1e-8
        )
        assert [scale[i]] == pytest.approx(binomial(positives[i], rows[i], logit[:, None]), abs=1e-8)
        ones = np.ones((10, 1))
        assert [shift[i]] == pytest.approx(binomial(positives[i], rows[i], ones, offset=logit), abs=1e-8)


def test_counted_rows_equal_single_rows(counts: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    logit, positives, rows = counts
    single = np.repeat(logit, rows[0].astype(int))
    label = np.concatenate([np.arange(n) < p for p, n in zip(positives[0], rows[0].astype(int), strict=True)]).astype(
        float
    )
    slope, intercept = fit_line(single, label, np.ones_like(label))
    expected = fit_line(logit, positives[0], rows[0])
    assert slope.shape == ()
    assert (float(slope), float(intercept)) == pytest.approx((float(expected[0]), float(expected[1])), abs=1e-8)


@pytest.mark.parametrize(
    ("logit", "label"),
    [([0, 1, 2, 3], [0, 0, 1, 1]), ([0, 1, 1, 2], [0, 0, 1, 1]), ([3, 2, 1, 0], [0, 0, 1, 1]), ([1, 1], [0, 1])],
)
def test_no_line_where_a_cut_separates_the_classes(logit: list[float], label: list[float]) -> None:
    assert np.isnan(fit_line(logit, label, np.ones(len(label)))).all()


@pytest.mark.parametrize("n", [500, 4000])
def test_one_overlapping_pair_has_a_line_however_steep(n: int) -> None:
    logit = np.concatenate([np.linspace(-50, -1e-3, n), [1e-3], np.linspace(1, 50, n)])
    label = np.concatenate([np.zeros(n - 1), [1, 0], np.ones(n)])
    slope, intercept = fit_line(logit, label, np.ones_like(label))
    chance = scipy.special.expit(slope * logit + intercept)
    assert np.sum(chance - label) == pytest.approx(0, abs=1e-6)
    assert np.sum((chance - label) * logit) == pytest.approx(0, abs=1e-4)
    assert slope > 1


def test_one_bad_weighting_leaves_the_others_alone() -> None:
    slope, _ = fit_line([0.0, 1.0, 2.0], [[0, 0, 5], [1, 2, 3]], [[5, 5, 5], [5, 5, 5]])
    assert np.isnan(slope[0])
    assert slope[1] == pytest.approx(float(fit_line([0.0, 1.0, 2.0], [1, 2, 3], [5, 5, 5])[0]), abs=1e-10)


def test_large_logits_and_no_rows() -> None:
    rng = np.random.default_rng(1)
    logit = rng.normal(0, 1, 400)
    label = (rng.random(400) < 1 / (1 + np.exp(-logit))).astype(float)
    ones = np.ones(400)
    assert float(fit_line(1e6 * logit, label, ones)[0]) == pytest.approx(
        1e-6 * float(fit_line(logit, label, ones)[0]), rel=1e-9
    )
    assert np.isnan(fit_line([], [], [])[0])
    assert np.isnan(fit_shift([0.0, 1.0], [1, 1], [1, 1]))


def test_many_rows_equal_statsmodels() -> None:
    """Enough distinct logits that the first steps are taken on cells, with rare positives and one far outlier."""
    rng = np.random.default_rng(2)
    logit = np.append(rng.normal(-4, 2, 20_000), 300.0)
    label = (rng.random(20_001) < scipy.special.expit(0.7 * logit - 2)).astype(float)
    ones = np.ones_like(label)
    slope, intercept = fit_line(logit, label, ones)
    reference = sm.GLM(label, sm.add_constant(logit), family=sm.families.Binomial()).fit(tol=1e-14)
    assert [float(intercept), float(slope)] == pytest.approx(list(reference.params), abs=1e-8)
    shift = float(fit_shift(logit, label, ones))
    assert np.sum(scipy.special.expit(logit + shift) - label) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("offset", [-60.0, 60.0])
def test_saturated_logits_are_no_trap(offset: float) -> None:
    """All chances are 0 or 1 at the start, where the likelihood has no curvature."""
    rng = np.random.default_rng(4)
    logit = rng.normal(0, 1, 3000)
    label = (rng.random(3000) < scipy.special.expit(logit)).astype(float)
    ones = np.ones(3000)
    assert float(fit_shift(logit + offset, label, ones)) == pytest.approx(
        float(fit_shift(logit, label, ones)) - offset, abs=1e-8
    )
    slope, intercept = fit_line(logit + offset, label, ones)
    plain = fit_line(logit, label, ones)
    assert float(slope) == pytest.approx(float(plain[0]), abs=1e-8)
    assert float(intercept) == pytest.approx(float(plain[1] - offset * plain[0]), abs=1e-6)
