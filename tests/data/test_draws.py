"""What epochs are made of: turns that cover a pool, and classes at a ratio."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungdet.data.draws import check_epoch_size, check_ratio, generator, in_turn, mixed
from lungdet.errors import ConfigError, SplitError


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 12))
def test_turns_show_every_row_of_a_pool_equally_often(n: int, size: int, n_epochs: int) -> None:
    pool = np.arange(n) * 3
    shown = np.concatenate([in_turn(pool, size=size, epoch=e, generator=generator(1, 0)) for e in range(n_epochs)])
    counts = np.bincount(shown, minlength=3 * n)[pool]
    assert counts.sum() == size * n_epochs
    assert np.ptp(counts) <= 1


def test_streams_seeds_and_epochs_are_independent() -> None:
    drawn = [generator(*key).integers(2**60) for key in ((0, 0), (0, 1), (1, 0), (0, 0, 1), (-1, 0))]
    assert len(set(drawn)) == len(drawn)
    assert generator(0, 0).integers(2**60) == drawn[0]


@pytest.mark.parametrize(("ratio", "n_positive"), [(1.0, 10), (3.0, 5), (0.25, 16), (100.0, 1), (0.001, 19)])
def test_classes_are_mixed_at_the_ratio_and_both_appear(ratio: float, n_positive: int) -> None:
    positives, negatives = np.arange(4), np.arange(100, 130)
    rows = mixed(positives, negatives, ratio=ratio, size=20, seed=0, epoch=3, rule="mine")
    assert int((rows < 100).sum()) == n_positive
    assert len(rows) == 20
    assert (np.diff((rows < 100).astype(int)) != 0).any(), "shuffled, not one class after the other"


def test_one_class_is_refused_in_the_name_of_the_rule() -> None:
    with pytest.raises(SplitError, match=r"curriculum needs both classes, .* holds 0 positives and 3 negatives"):
        mixed(np.arange(0), np.arange(3), ratio=1.0, size=4, seed=0, epoch=0, rule="curriculum")


def test_values_out_of_range_are_refused() -> None:
    check_ratio(0.5)
    check_epoch_size(None, least=2)
    check_epoch_size(2, least=2)
    with pytest.raises(ConfigError, match=r"ratio=nan must be > 0"):
        check_ratio(float("nan"))
    with pytest.raises(ConfigError, match=r"epoch_size=1 must be >= 2, or null"):
        check_epoch_size(1, least=2)
