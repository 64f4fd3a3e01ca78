"""Paired differences, Holm's correction against statsmodels, and what the verdicts say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from lungdet.comparison.measures import Measure, Sampled
from lungdet.comparison.pairs import Difference, bootstrap_p, holm, judge, paired_differences
from lungdet.evaluation.estimates import Estimate, PatientDraws

AUROC, BRIER = Measure("auroc", "AUROC"), Measure("brier", "Brier score", larger_is_better=False, digits=4)
DRAWS = PatientDraws(np.arange(50), n_resamples=999, seed=0)


def sampled(samples: np.ndarray) -> Sampled:
    return Sampled(DRAWS.estimate(float(samples.mean()), samples), samples)


def test_holm_is_that_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 28):
        p = (rng.uniform(size=n) ** 3).tolist()
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist(), abs=1e-12)
    assert holm([0.04, 0.04, 0.9]) == [pytest.approx(0.12), pytest.approx(0.12), 0.9]
    with_gap = holm([0.01, math.nan, 0.2])
    assert with_gap[0] == pytest.approx(0.02)
    assert math.isnan(with_gap[1])


def test_differences_are_second_minus_first_within_each_resample() -> None:
    rng = np.random.default_rng(1)
    common = rng.normal(0.8, 0.1, 999)
    runs = {"a": {"auroc": sampled(common)}, "b": {"auroc": sampled(common + 0.01 + 0.001 * rng.normal(size=999))}}
    found = paired_differences(runs, [AUROC], DRAWS)["a", "b"]["auroc"]
    # Each alone is spread by 0.1; what they share cancels.
    assert found.estimate.value == pytest.approx(0.01, abs=2e-4)
    assert found.estimate.width == pytest.approx(2 * 1.96 * 0.001, rel=0.1)
    assert found.is_different
    assert found.p == pytest.approx(2 / 1000)
    assert found.p_holm == found.p


def test_p_counts_the_resamples_beyond_zero() -> None:
    assert bootstrap_p(np.array([-1.0, 1, 2, 3, math.nan])) == pytest.approx(2 * 2 / 5)
    assert bootstrap_p(np.array([-1.0, 1.0])) == 1
    assert math.isnan(bootstrap_p(np.array([math.nan])))


def test_two_that_are_the_same_do_not_differ_and_certainty_is_not_claimed() -> None:
    rng = np.random.default_rng(2)
    samples = rng.normal(size=999)
    one = sampled(samples)
    same = paired_differences({"a": {"auroc": one}, "b": {"auroc": one}}, [AUROC], DRAWS)["a", "b"]["auroc"]
    assert (same.estimate.value, same.estimate.low, same.estimate.high, same.p) == (0, 0, 0, 1)
    assert not same.is_different
    shifted = sampled(samples + 1)
    certain = paired_differences({"a": {"auroc": one}, "b": {"auroc": shifted}}, [AUROC], DRAWS)["a", "b"]["auroc"]
    assert certain.estimate.reason == "the same in every resample"
    assert judge("a", "b", certain, measure=AUROC, n_pairs=1).kind == "undecided"


def test_what_one_run_lacks_has_no_difference() -> None:
    missing = Sampled.missing("no positives in val", n_resamples=999)
    runs = {"a": {"auroc": missing}, "b": {"auroc": sampled(DRAWS.weights[:, 0])}}
    found = paired_differences(runs, [AUROC], DRAWS)["a", "b"]["auroc"]
    assert found.estimate.reason == "no positives in val"
    verdict = judge("a", "b", found, measure=AUROC, n_pairs=1)
    assert verdict.kind == "undecided"
    assert "no positives in val" in verdict.text


def test_verdicts() -> None:
    clear = Difference(Estimate(0.05, 0.02, 0.08), p=0.002, p_holm=0.002)
    better = judge("a", "b", clear, measure=AUROC, n_pairs=1)
    assert (better.kind, better.better) == ("different", "b")
    assert better.text.startswith("b is better than a: AUROC of b minus that of a is +0.050 (95 % interval +0.020 to")
    assert "Holm" not in better.text
    worse = judge("a", "b", clear, measure=BRIER, n_pairs=3)
    assert (worse.kind, worse.better) == ("different", "a")
    assert worse.text.startswith("b is worse than a: Brier score of b minus that of a is +0.0500")
    assert "p 0.002 after Holm's correction for 3 pairs" in worse.text
    unclear = judge("a", "b", Difference(Estimate(0.01, -0.02, 0.03), p=0.4, p_holm=0.4), measure=AUROC, n_pairs=1)
    assert (unclear.kind, unclear.better) == ("not_distinguishable", "")
    assert "not distinguishable" in unclear.text
    assert unclear.text.endswith("which includes 0.")


def test_one_of_many_pairs_is_not_called_different_for_excluding_zero_alone() -> None:
    found = Difference(Estimate(0.05, 0.001, 0.08), p=0.03, p_holm=0.3)
    assert found.excludes_zero
    assert not found.is_different
    verdict = judge("a", "b", found, measure=AUROC, n_pairs=10)
    assert verdict.kind == "not_distinguishable"
    assert "excludes 0 by itself, but not after Holm's correction (p 0.30)" in verdict.text
