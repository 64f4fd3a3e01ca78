"""Counter-based random numbers: against a plain SplitMix64, by statistics, and by position in the batch."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from lungdet.data.counter_random import normal_noise, sample_keys, uniforms

MASK = (1 << 64) - 1
INT64 = st.integers(-(2**63), 2**63 - 1)


def splitmix64(state: int) -> int:
    """One output of the reference generator, after its state was advanced."""
    z = (state + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_reference_itself_gives_the_published_first_output() -> None:
    assert splitmix64(0) == 0xE220A8397B1DCDAF


@given(INT64, st.integers(0, 10**6), INT64)
def test_keys_chain_splitmix64_over_seed_epoch_and_draw(seed: int, epoch: int, draw: int) -> None:
    expected = 0
    for part in (seed, epoch, draw):
        expected = splitmix64((expected + part) & MASK)
    assert sample_keys(np.array([draw]), seed=seed, epoch=epoch).tolist() == [expected]


@given(st.integers(0, MASK))
def test_uniforms_are_the_outputs_of_splitmix64(key: int) -> None:
    got = uniforms(np.array([key], dtype=np.uint64), n=3)[0]
    step = 0x9E3779B97F4A7C15
    assert got.tolist() == [(splitmix64((key + k * step) & MASK) >> 11) / 2**53 for k in range(3)]


@given(INT64)
def test_noise_looks_up_the_same_hash(key: int) -> None:
    got = normal_noise(torch.tensor([key]), n=6)[0].numpy()
    lanes: list[int] = []
    for k in range(2):
        # Counters start at 0 here: the state before the first step.
        bits = splitmix64((key + (k - 1) * 0x9E3779B97F4A7C15) & MASK)
        lanes += [((bits >> (16 * lane)) & 0xFFFF) for lane in range(4)]
    ranks = [(lane + 2**15) % 2**16 for lane in lanes[:6]]  # the lane is read as a signed number
    expected = scipy.stats.norm.ppf((np.array(ranks) + 0.5) / 2**16)
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_keys_differ_in_each_part() -> None:
    draws = np.arange(1000)
    keys = [sample_keys(draws, seed=seed, epoch=epoch) for seed in range(5) for epoch in range(20)]
    assert len(np.unique(np.concatenate(keys))) == 100_000


def test_uniforms_are_uniform_and_columns_unrelated() -> None:
    u = uniforms(sample_keys(np.arange(20_000), seed=3, epoch=1), n=4)
    assert (u >= 0).all()
    assert (u < 1).all()
    for column in u.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-4
    assert np.abs(np.corrcoef(u.T) - np.eye(4)).max() < 0.03


def test_noise_is_normal_and_white() -> None:
    noise = normal_noise(torch.arange(4), n=50_000).double().numpy()
    assert scipy.stats.kstest(noise[0], "norm").pvalue > 1e-4
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert np.abs(np.corrcoef(noise) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(noise[0, 1:], noise[0, :-1])[0, 1]) < 0.03
    assert np.abs(noise).max() < 4.4


@given(st.lists(INT64, min_size=1, max_size=9), st.integers(1, 40), st.data())
def test_noise_of_a_key_does_not_depend_on_the_batch(keys: list[int], n: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(keys) - 1))
    alone = normal_noise(torch.tensor([keys[at]]), n=n)
    assert alone.dtype == torch.float32
    assert torch.equal(normal_noise(torch.tensor(keys), n=n)[at], alone[0])
