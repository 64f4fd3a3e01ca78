"""Strata of positives per patient and proportional draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungdet.data.stratification import deal_folds, draw_fraction, stratify

COUNTS = st.lists(st.integers(0, 12), min_size=1, max_size=60).map(lambda v: np.array(v, dtype=np.int64))


def test_strata_are_0_1_2_3to4_and_5_or_more() -> None:
    assert stratify(np.array([0, 1, 2, 3, 4, 5, 30])).tolist() == [0, 1, 2, 3, 3, 4, 4]


@given(COUNTS, st.integers(2, 10), st.integers(-3, 3))
def test_folds_differ_by_one_patient_and_each_has_a_positive_if_there_are_enough(
    counts: np.ndarray, n_folds: int, seed: int
) -> None:
    folds = deal_folds(stratify(counts), n_folds=n_folds, seed=seed)
    sizes = np.bincount(folds, minlength=n_folds)
    assert len(sizes) == n_folds
    assert sizes.max() - sizes.min() <= 1
    positive = np.bincount(folds[counts > 0], minlength=n_folds)
    assert positive.max() - positive.min() <= 1
    for level in range(5):
        here = np.bincount(folds[stratify(counts) == level], minlength=n_folds)
        assert here.max() - here.min() <= 2
    assert (folds == deal_folds(stratify(counts), n_folds=n_folds, seed=seed)).all()


def test_no_fold_always_gets_the_higher_card() -> None:
    strata = stratify(np.array([1, 0, 0, 0]))
    folds_of_the_positive = [int(deal_folds(strata, n_folds=2, seed=seed)[0]) for seed in range(200)]
    assert 70 < sum(folds_of_the_positive) < 130


@given(COUNTS, st.floats(0.05, 0.9), st.integers(0, 5))
def test_draw_has_the_asked_size_and_stays_within_the_eligible(counts: np.ndarray, fraction: float, seed: int) -> None:
    strata = stratify(counts)
    eligible = np.random.default_rng(seed).random(len(counts)) < 0.7
    eligible[0] = True
    drawn = draw_fraction(strata, eligible, fraction=fraction, seed=(seed,))
    assert drawn.sum() == max(1, round(fraction * eligible.sum()))
    assert not (drawn & ~eligible).any()
    assert (drawn == draw_fraction(strata, eligible, fraction=fraction, seed=(seed,))).all()


def test_draw_is_proportional_within_one_place_per_stratum() -> None:
    strata = np.repeat([0, 1, 2], [70, 20, 10])
    drawn = draw_fraction(strata, np.ones(100, dtype=bool), fraction=0.2, seed=(3,))
    assert [int(drawn[strata == level].sum()) for level in (0, 1, 2)] == [14, 4, 2]


@pytest.mark.parametrize("seed", range(5))
def test_small_draw_holds_both_kinds(seed: int) -> None:
    everyone = np.ones(22, dtype=bool)
    mostly_none = np.array([0] * 20 + [1] * 2)
    assert draw_fraction(mostly_none, everyone, fraction=0.1, seed=(seed,))[20:].sum() == 1
    assert draw_fraction(mostly_none, everyone, fraction=0.01, seed=(seed,))[20:].sum() == 1, "one place: a positive"
    mostly_some = np.array([1] * 20 + [0] * 2)
    assert draw_fraction(mostly_some, everyone, fraction=0.1, seed=(seed,))[20:].sum() == 1


def test_other_seed_draws_others() -> None:
    strata, everyone = np.zeros(50, dtype=np.int64), np.ones(50, dtype=bool)
    first, second = (draw_fraction(strata, everyone, fraction=0.3, seed=(0, fold)) for fold in (0, 1))
    assert (first != second).any()
