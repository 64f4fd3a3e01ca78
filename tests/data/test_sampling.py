"""Samplers: balance, turns, whole batches, and two real processes that share an epoch."""

from __future__ import annotations

import datetime
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lungdet.data.sampling import (
    BalancedSampling,
    EpochSampler,
    EvaluationSampler,
    NaturalSampling,
    SamplingRule,
    WeightedSampling,
    row_of_draw,
)
from lungdet.errors import ConfigError, SplitError

WATCHDOG_S = 60


def labelled(n_positive: int, n_negative: int) -> np.ndarray:
    labels = np.zeros(n_positive + n_negative, dtype=np.int64)
    labels[np.random.default_rng(0).permutation(len(labels))[:n_positive]] = 1
    return labels


def sampler(rule: SamplingRule, labels: np.ndarray, **changed: int) -> EpochSampler:
    """Rows 100, 101, ... of a table of 1000 + len(labels) records."""
    settings = {"n_records": 1000 + len(labels), "batch_size": 8, "seed": 5} | changed
    return EpochSampler(rule, rows=100 + np.arange(len(labels)), labels=labels, **settings)


def rows_of(some: EpochSampler, epoch: int) -> np.ndarray:
    some.set_epoch(epoch)
    return row_of_draw(np.array(list(some)), n_records=some.n_records) - 100


RULES = [NaturalSampling(), BalancedSampling(ratio=2.0), WeightedSampling(), BalancedSampling(epoch_size=50)]


# -- rules -----------------------------------------------------------------------------------------------------------


def test_natural_shows_every_row_once_and_another_order_next_time() -> None:
    labels = labelled(4, 20)
    some = sampler(NaturalSampling(), labels)
    first, second = rows_of(some, 0), rows_of(some, 1)
    assert sorted(first) == sorted(second) == list(range(24))
    assert (first != second).any()


def test_natural_fills_the_last_batch_with_other_rows_each_epoch() -> None:
    some = sampler(NaturalSampling(), labelled(2, 19))
    counts = np.zeros(21, dtype=int)
    for epoch in range(7):
        rows = rows_of(some, epoch)
        assert len(rows) == 24
        counts += np.bincount(rows, minlength=21)
    assert set(counts) == {8}, "7 epochs of 24 places over 21 rows"


def test_short_natural_epochs_show_all_rows_before_any_comes_again() -> None:
    labels, rule = labelled(4, 20), NaturalSampling(epoch_size=8)
    assert rule.length(labels) == 8
    epochs = [rule.draw(labels, size=8, seed=2, epoch=epoch) for epoch in range(3)]
    assert sorted(np.concatenate(epochs)) == list(range(24))


@given(st.integers(1, 30), st.integers(1, 200), st.floats(0.2, 9), st.integers(2, 100), st.integers(0, 20))
def test_balanced_keeps_the_ratio_and_treats_positives_alike(
    n_positive: int, n_negative: int, ratio: float, size: int, epoch: int
) -> None:
    labels = labelled(n_positive, n_negative)
    rows = BalancedSampling(ratio=ratio).draw(labels, size=size, seed=3, epoch=epoch)
    assert len(rows) == size
    n_shown = int(labels[rows].sum())
    assert n_shown == min(max(1, round(size / (1 + ratio))), size - 1)
    counts = np.bincount(rows, minlength=len(labels))
    for kind in (0, 1):
        assert np.ptp(counts[labels == kind]) <= 1


def test_positives_are_shown_equally_often_over_epochs() -> None:
    labels = labelled(7, 100)
    rule = BalancedSampling(epoch_size=20)
    counts = np.bincount(
        np.concatenate([rule.draw(labels, size=20, seed=1, epoch=epoch) for epoch in range(7)]), minlength=107
    )
    assert set(counts[labels == 1]) == {10}


def test_negatives_do_not_come_again_before_all_were_shown() -> None:
    labels = labelled(10, 95)
    rule = BalancedSampling()
    shown = [set(rows[labels[rows] == 0]) for rows in (rule.draw(labels, size=20, seed=1, epoch=e) for e in range(10))]
    assert len(set().union(*shown[:9])) == 90, "nine epochs of ten negatives, none twice"
    assert set().union(*shown) == set(np.flatnonzero(labels == 0))


def test_balanced_epoch_defaults_to_one_pass_through_the_positives() -> None:
    labels = labelled(16, 500)
    assert BalancedSampling(ratio=3.0).length(labels) == 64
    assert BalancedSampling(ratio=3.0, epoch_size=1000).length(labels) == 1000
    counts = np.bincount(rows_of(sampler(BalancedSampling(ratio=3.0), labels), 4), minlength=516)
    assert (counts[labels == 1] == 1).all()


def test_inverse_weights_show_classes_equally_often() -> None:
    labels = np.repeat([0, 1, 2], [3000, 60, 7])
    rows = WeightedSampling(epoch_size=6000).draw(labels, size=6000, seed=0, epoch=0)
    assert np.bincount(labels[rows]) / 6000 == pytest.approx([1 / 3] * 3, abs=0.03)
    assert set(rows[labels[rows] == 2]) == set(range(3060, 3067))


def test_weights_multiply_the_frequency_of_their_class() -> None:
    labels = np.repeat([0, 1], [900, 100])
    rows = WeightedSampling(weights=[1, 3]).draw(labels, size=8000, seed=0, epoch=2)
    assert labels[rows].mean() == pytest.approx(300 / 1200, abs=0.02)
    assert WeightedSampling(weights=[0, 1]).draw(labels, size=50, seed=0, epoch=2).min() >= 900
    assert WeightedSampling().length(labels) == 1000


# -- epoch sampler ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("world_size", [2, 4])
def test_global_batches_are_the_same_for_any_number_of_processes(rule: SamplingRule, world_size: int) -> None:
    labels = labelled(9, 130)
    alone = sampler(rule, labels)
    ranks = [sampler(rule, labels, world_size=world_size, rank=rank) for rank in range(world_size)]
    for epoch in (0, 3):
        for one in (alone, *ranks):
            one.set_epoch(epoch)
        whole = np.array(list(alone)).reshape(-1, 8)
        parts = [np.array(list(one)) for one in ranks]
        assert {len(part) for part in parts} == {len(one) for one in ranks} == {len(alone) // world_size}
        shared = np.stack([part.reshape(-1, 8 // world_size) for part in parts], axis=-1).reshape(-1, 8)
        assert (shared == whole).all()


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_order_depends_on_seed_and_epoch_only(rule: SamplingRule) -> None:
    labels = labelled(9, 130)
    some = sampler(rule, labels)
    some.set_epoch(4)
    first = list(some)
    assert list(some) == first, "iterating again must not advance anything"
    other = pickle.loads(pickle.dumps(sampler(rule, labels)))
    other.set_epoch(4)
    assert list(other) == first
    other.set_epoch(5)
    assert list(other) != first
    assert list(sampler(rule, labels, seed=6)) != list(sampler(rule, labels))
    assert len(list(sampler(rule, labels, seed=-1))) == len(first)


def test_a_row_shown_again_gets_another_draw_number() -> None:
    some = sampler(BalancedSampling(epoch_size=64), labelled(3, 100))
    draws = np.array(list(some))
    assert len(set(draws)) == len(draws) == 64
    assert draws.max() >= some.n_records
    rows = row_of_draw(draws, n_records=some.n_records)
    for row in np.unique(rows):
        assert sorted(draws[rows == row] // some.n_records) == list(range((rows == row).sum()))


def test_data_loader_batches_are_whole() -> None:
    some = sampler(BalancedSampling(), labelled(5, 40))
    loader: DataLoader[int] = DataLoader(list(range(10**4)), batch_size=8, sampler=some)  # type: ignore[arg-type]
    assert [len(batch) for batch in loader] == [8, 8]


def test_every_process_asks_for_its_own_rank() -> None:
    with pytest.raises(ValueError, match="Invalid rank 2"):
        sampler(NaturalSampling(), labelled(5, 40), world_size=2, rank=2)


# -- evaluation sampler ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "world_size"), [(10, 1), (10, 2), (11, 2), (1, 4), (0, 2)])
def test_evaluation_shows_every_row_in_order_and_pads_the_ranks(n: int, world_size: int) -> None:
    rows = np.arange(n) * 3 + 1
    shared: dict[str, int] = {"n_records": 1000, "world_size": world_size}
    parts = [list(EvaluationSampler(rows, rank=rank, **shared)) for rank in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    assert len(EvaluationSampler(rows, **shared)) == len(parts[0])
    merged = [row for together in zip(*parts, strict=True) for row in together]
    assert merged[:n] == rows.tolist()
    assert {row % 1000 for row in merged} == set(rows)
    assert all(row >= 1000 for row in merged[n:]), "repeats can be told from the first appearance"
    assert len(merged) - n < world_size or n == 0


# -- two processes ---------------------------------------------------------------------------------------------------


def take_part(rank: int, folder: str) -> None:
    """One of two gloo processes: draws its share of an epoch and gathers both shares."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=2,
        timeout=datetime.timedelta(seconds=WATCHDOG_S),
    )
    world_size, own_rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    training = sampler(BalancedSampling(), labelled(9, 130), world_size=world_size, rank=own_rank)
    training.set_epoch(2)
    scoring = EvaluationSampler(np.arange(31), n_records=31, world_size=world_size, rank=own_rank)
    for name, rows in (("train", list(training)), ("val", list(scoring))):
        shares = [torch.zeros(len(rows), dtype=torch.int64) for _ in range(world_size)]
        torch.distributed.all_gather(shares, torch.tensor(rows))
        if own_rank == 0:
            np.save(f"{folder}/{name}.npy", torch.stack(shares).numpy())
    torch.distributed.destroy_process_group()


def test_two_processes_share_one_epoch(tmp_path: Path) -> None:
    commands = [[sys.executable, __file__, str(rank), str(tmp_path)] for rank in (0, 1)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=WATCHDOG_S)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()
    alone = sampler(BalancedSampling(), labelled(9, 130))
    alone.set_epoch(2)
    shares = np.load(tmp_path / "train.npy")
    assert not set(shares[0]) & set(shares[1])
    assert shares.T.ravel().tolist() == list(alone)
    scored = np.load(tmp_path / "val.npy")
    assert scored.shape == (2, 16)
    assert scored.T.ravel()[:31].tolist() == list(range(31))


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.0, -1.0, float("inf"), float("nan")])
def test_ratio_must_be_positive(ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"data\.sampling\.ratio=.* must be > 0"):
        BalancedSampling(ratio=ratio)


@pytest.mark.parametrize("rule", [NaturalSampling, BalancedSampling, WeightedSampling])
def test_epoch_size_must_be_positive(rule: type[BalancedSampling]) -> None:
    with pytest.raises(ConfigError, match=r"data\.sampling\.epoch_size=0 must be >= [12], or null"):
        rule(epoch_size=0)


@pytest.mark.parametrize(("n_positive", "n_negative"), [(0, 5), (5, 0)])
def test_balanced_needs_both_classes(n_positive: int, n_negative: int) -> None:
    message = f"holds {n_positive} positives and {n_negative} negatives"
    with pytest.raises(SplitError, match=message):
        BalancedSampling().draw(labelled(n_positive, n_negative), size=8, seed=0, epoch=0)


@pytest.mark.parametrize("weights", [[], [0, 0], [-1, 2], [float("nan"), 1], "inversed"])
def test_weights_must_be_weights(weights: list[float] | str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"data.sampling.weights={weights!r} must be 'inverse' or")):
        WeightedSampling(weights=weights)


def test_weights_for_fewer_classes_than_there_are() -> None:
    with pytest.raises(SplitError, match="has 1 numbers for 2 classes"):
        WeightedSampling(weights=[1.0]).draw(labelled(2, 2), size=4, seed=0, epoch=0)


def test_weights_that_hide_every_row() -> None:
    with pytest.raises(SplitError, match=r"all 5 training rows have weight 0 \(rows per class: \[5\]\)"):
        WeightedSampling(weights=[0, 1]).draw(labelled(0, 5), size=4, seed=0, epoch=0)


if __name__ == "__main__":  # the processes that test_two_processes_share_one_epoch starts
    take_part(int(sys.argv[1]), sys.argv[2])


def test_an_epoch_of_many_rows_is_handed_over_in_parts_and_in_order() -> None:
    """9,000 rows: more than are turned into Python numbers at once, and no whole number of such parts."""
    n = 9000
    rows = np.arange(n, dtype=np.int64)
    sampler = EpochSampler(NaturalSampling(), rows=rows, labels=rows % 2, n_records=n, batch_size=9, seed=3)
    order = NaturalSampling().draw(rows % 2, size=n, seed=3, epoch=0)
    given = iter(sampler)
    assert next(given) == order[0]
    assert [order[0], *given] == order.tolist()
    assert list(EvaluationSampler(rows, n_records=n)) == rows.tolist()
