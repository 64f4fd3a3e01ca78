"""The bootstrap: the official draws, float32 arithmetic, undefined resamples, paired differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lungdet.errors import ConfigError
from lungdet.metrics.froc_bootstrap import (
    CURVE_FPS,
    Findings,
    FrocBootstrap,
    bootstrap_froc,
    draw_series,
    interval,
    paired_difference,
)


def findings(
    nodules: list[tuple[int, float | None]], false: list[tuple[int, float]], *, n_series: int
) -> tuple[Findings, list[tuple[str, float, float, bool]], list[str]]:
    """The same case for both: arrays, and the rows and series of the slow reference."""
    scores = np.array([math.nan if score is None else score for _, score in nodules], dtype=np.float64)
    arrays = Findings(
        np.array([series for series, _ in nodules], dtype=np.int64),
        scores,
        np.array([series for series, _ in false], dtype=np.int64),
        np.array([score for _, score in false], dtype=np.float64),
        n_series,
    )
    rows = [(str(series), 1.0, -1e9 if score is None else score, score is None) for series, score in nodules]
    rows += [(str(series), 0.0, score, False) for series, score in false]
    return arrays, rows, [str(series) for series in range(n_series)]


def everything(case: Findings) -> np.ndarray:
    return np.ones((1, len(case.nodule_series)), dtype=np.bool_)


def random_case(seed: int, *, n_series: int, n_nodules: int, n_false: int, decimals: int | None = None) -> Any:
    rng = np.random.default_rng(seed)

    def score(mean: float) -> float:
        value = float(rng.normal(mean))
        return value if decimals is None else round(value, decimals)

    nodules = [(int(rng.integers(n_series)), score(1.5) if rng.random() < 0.8 else None) for _ in range(n_nodules)]
    false = [(int(rng.integers(n_series)), score(0)) for _ in range(n_false)]
    return findings(nodules, false, n_series=n_series)


@pytest.mark.parametrize(("n", "seed"), [(888, 0), (7, 2**32 - 1), (1, 5)])
def test_draws_are_those_of_the_seeded_global_generator(slow: Any, n: int, seed: int) -> None:
    """One legacy `randint` call a resample after `np.random.seed`, whatever else uses its own generator."""
    official = [np.bincount(drawn, minlength=n) for drawn in slow.draws(n, n=20, seed=seed)]
    np.testing.assert_array_equal(list(draw_series(n, n_bootstraps=20, seed=seed)), official)


def test_the_global_generator_is_left_alone() -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002  it is what must not change
    list(draw_series(10, n_bootstraps=5, seed=0))
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_equal(after, before)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param({"n_series": 40, "n_nodules": 50, "n_false": 900}, id="scores all different"),
        pytest.param({"n_series": 40, "n_nodules": 50, "n_false": 900, "decimals": 1}, id="many ties"),
        pytest.param({"n_series": 12, "n_nodules": 9, "n_false": 30, "decimals": 0}, id="hardly a score without a tie"),
        pytest.param({"n_series": 30, "n_nodules": 40, "n_false": 20}, id="fewer false positives than 1 per scan"),
    ],
)
def test_bit_identical_with_the_official_bootstrap(slow: Any, size: dict[str, Any]) -> None:
    case, rows, uids = random_case(1, **size)
    found = bootstrap_froc(case, everything(case), n_bootstraps=200, seed=11)
    curves = slow.resamples(rows, uids, n=200, seed=11)
    mean, lower, upper = slow.bounds(curves)
    np.testing.assert_array_equal(found.mean, mean)
    np.testing.assert_array_equal(found.lower, lower)
    np.testing.assert_array_equal(found.upper, upper)
    cpm = [np.mean(np.interp([0.125, 0.25, 0.5, 1, 2, 4, 8], *curve)) for curve in curves]
    np.testing.assert_array_equal(found.cpm_samples(), cpm)
    assert found.n_undefined == 0
    assert found.mean.dtype == np.float32


def test_slopes_of_equal_steps_are_interpolated_as_one(slow: Any) -> None:
    """Each nodule is tied with a false positive of its series: runs of equal steps, whose inner points roc_curve drops.

    The first point of all it keeps, although the step before it is the same. Both show in the last bits only.
    """
    nodules: list[tuple[int, float | None]] = [(i // 7, 50.0 - i) for i in range(35)]
    case, rows, uids = findings(nodules, [(i // 7, 50.0 - i) for i in range(35)], n_series=5)
    found = bootstrap_froc(case, everything(case), n_bootstraps=30, seed=3)
    curves = slow.resamples(rows, uids, n=30, seed=3)
    expected = [np.interp([0.125, 0.25, 0.5, 1, 2, 4, 8], *curve) for curve in curves]
    np.testing.assert_array_equal(found.sensitivity_samples[0], expected)


def test_false_positives_crowded_in_one_series(slow: Any) -> None:
    """A resample without that series reaches 8 per scan far later than the whole set does."""
    nodules: list[tuple[int, float | None]] = [(i % 20, 3 - 0.01 * i) for i in range(300)]
    false = [(0, 3 - 0.001 * i - 0.0005) for i in range(1500)] + [(i % 20, 1 - 0.001 * i) for i in range(400)]
    case, rows, uids = findings(nodules, false, n_series=20)
    found = bootstrap_froc(case, everything(case), n_bootstraps=60, seed=2)
    mean, lower, upper = slow.bounds(slow.resamples(rows, uids, n=60, seed=2))
    np.testing.assert_array_equal([found.mean, found.lower, found.upper], [mean, lower, upper])
    assert any(weight[0] == 0 for weight in draw_series(20, n_bootstraps=60, seed=2))


def test_resamples_without_nodules_are_left_out_and_counted() -> None:
    """4 series, nodules (found, .9) in one. A draw misses it in (3/4)^4 = 32 % of the cases; then there is no result.

    Otherwise the sensitivity is 1 at every rate, so mean and bounds are 1.
    """
    case, _, _ = findings([(2, 0.9)], [(0, 0.5)], n_series=4)
    found = bootstrap_froc(case, everything(case), n_bootstraps=100, seed=0)
    without = sum(w[2] == 0 for w in draw_series(4, n_bootstraps=100, seed=0))
    assert found.n_undefined == without > 0
    np.testing.assert_array_equal([found.mean, found.lower, found.upper], np.ones((3, len(CURVE_FPS))))
    assert np.isnan(found.cpm_samples()).sum() == without


def test_missed_and_found_nodules_in_two_series() -> None:
    """Series 0 holds a found nodule, series 1 a missed one: resamples have sensitivity 1 (0, 0), 1/2 or 0 (1, 1)."""
    case, _, _ = findings([(0, 0.9), (1, None)], [], n_series=2)
    found = bootstrap_froc(case, everything(case), n_bootstraps=50, seed=4)
    expected = [w[0] / 2 for w in draw_series(2, n_bootstraps=50, seed=4)]
    assert found.cpm_samples().tolist() == pytest.approx(expected)
    assert set(expected) == {0, 0.5, 1}


def test_no_nodules_at_all() -> None:
    case, _, _ = findings([], [(0, 0.5)], n_series=2)
    found = bootstrap_froc(case, everything(case), n_bootstraps=5, seed=0)
    assert found.n_undefined == 5
    assert np.isnan(found.mean).all()
    assert np.isnan(found.upper).all()
    assert all(math.isnan(value) for value in interval(found.cpm_samples()))


def test_groups_share_draws_and_false_positives(slow: Any) -> None:
    """Each group alone gives what it gives beside the others; a group's curve is the official one of its nodules."""
    case, rows, uids = random_case(8, n_series=25, n_nodules=30, n_false=400, decimals=1)
    group = np.arange(30) % 3 == 0
    both = bootstrap_froc(case, np.stack([np.ones(30, dtype=np.bool_), group]), n_bootstraps=40, seed=6)
    alone = bootstrap_froc(case, group[None], n_bootstraps=40, seed=6)
    assert both.cpm_samples(1).tolist() == alone.cpm_samples().tolist()
    chosen = [row for i, row in enumerate(rows) if i >= 30 or group[i]]
    for found, curve in zip(both.sensitivity_samples[1], slow.resamples(chosen, uids, n=40, seed=6), strict=True):
        fps, sensitivity = curve
        assert found.tolist() == np.interp([0.125, 0.25, 0.5, 1, 2, 4, 8], fps, sensitivity).tolist()


def test_interval_takes_the_official_places() -> None:
    """Of 0..999 the 2.5 % bounds are number 25 and number 975. Of 1 and 3: floor(.05) = 0 and floor(1.95) = 1."""
    assert interval(np.arange(1000.0)[::-1]) == (499.5, 25, 975)
    assert interval(np.array([3.0, math.nan, 1.0])) == (2, 1, 3)
    assert interval(np.array([2.0])) == (2, 2, 2)


def bootstrap_of(cpm: list[float], *, seed: int = 0) -> FrocBootstrap:
    nothing = np.zeros(0, dtype=np.float32)
    samples = np.repeat(np.array(cpm)[None, :, None], 7, axis=2)
    return FrocBootstrap(len(cpm), seed, 0, nothing, nothing, nothing, samples)


def test_paired_difference_by_hand() -> None:
    """Second minus first in four resamples: +.1, +.2, -.1, undefined; one of three is not better."""
    first, second = bootstrap_of([0.5, 0.5, 0.5, math.nan]), bootstrap_of([0.6, 0.7, 0.4, math.nan])
    found = paired_difference(first, second, cpm_first=0.5, cpm_second=0.58)
    assert found.difference == pytest.approx(0.08)
    assert (found.low, found.high) == pytest.approx((-0.1, 0.2))
    assert found.share_not_better == pytest.approx(1 / 3)


def test_paired_difference_without_a_defined_resample() -> None:
    found = paired_difference(bootstrap_of([math.nan]), bootstrap_of([0.4]), cpm_first=0.1, cpm_second=0.4)
    assert math.isnan(found.low)
    assert math.isnan(found.share_not_better)


@pytest.mark.parametrize("other", [bootstrap_of([0.5, 0.5], seed=1), bootstrap_of([0.5])])
def test_resamples_that_are_no_pairs_are_refused(other: FrocBootstrap) -> None:
    with pytest.raises(ConfigError, match="draw both with the same seed and n_bootstraps"):
        paired_difference(bootstrap_of([0.5, 0.5]), other, cpm_first=0.5, cpm_second=0.5)
