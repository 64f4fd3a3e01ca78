"""Curriculum sampling: which negatives an epoch may show, by an own reckoning, and that nothing else decides it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungdet.data.curriculum import CurriculumSampling, NeedsDifficulty
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.sampling import BalancedSampling, EpochSampler, NaturalSampling
from lungdet.errors import ConfigError, RunError, SplitError

N_POSITIVE, N_NEGATIVE = 10, 100


def example() -> tuple[np.ndarray, np.ndarray]:
    """Labels, and a difficulty that is the rank 0..99 among the negatives; positives look hardest of all."""
    generator = np.random.default_rng(0)
    labels = generator.permutation(np.repeat([1, 0], [N_POSITIVE, N_NEGATIVE]))
    difficulty = np.full(len(labels), 1e3, np.float32)
    difficulty[labels == 0] = generator.permutation(N_NEGATIVE)
    return labels, difficulty


def ranks_shown(rule: CurriculumSampling, *, epoch: int, size: int = 400) -> set[int]:
    """Ranks of the negatives of an epoch that is long enough to show every one it may."""
    labels, difficulty = example()
    rows = rule.with_difficulty(difficulty).draw(labels, size=size, seed=1, epoch=epoch)
    return {int(rank) for rank in difficulty[rows[labels[rows] == 0]]}


@pytest.mark.parametrize(("epoch", "hardest"), [(0, 19), (1, 39), (2, 59), (3, 79), (4, 99), (50, 99)])
def test_the_part_grows_from_the_easiest_to_all(epoch: int, hardest: int) -> None:
    rule = CurriculumSampling(start_fraction=0.2, epochs_until_all=4)
    assert ranks_shown(rule, epoch=epoch) == set(range(hardest + 1))


def test_it_may_end_on_the_hardest() -> None:
    rule = CurriculumSampling(start_fraction=0.5, epochs_until_all=2, end_fraction=0.3)
    assert ranks_shown(rule, epoch=1) == set(range(75))
    assert ranks_shown(rule, epoch=2) == ranks_shown(rule, epoch=9) == set(range(70, 100))


def test_positives_all_take_part_from_the_beginning_at_the_ratio() -> None:
    labels, difficulty = example()
    rows = CurriculumSampling(ratio=3.0).with_difficulty(difficulty).draw(labels, size=40, seed=1, epoch=0)
    assert np.bincount(rows, minlength=len(labels))[labels == 1].tolist() == [1] * N_POSITIVE


def test_with_all_negatives_it_is_balanced_sampling() -> None:
    labels, difficulty = example()
    rule = CurriculumSampling(ratio=2.0, epochs_until_all=3).with_difficulty(difficulty)
    balanced = BalancedSampling(ratio=2.0)
    assert rule.length(labels) == balanced.length(labels) == 30
    for epoch in (3, 4, 11):
        drawn = [one.draw(labels, size=30, seed=7, epoch=epoch).tolist() for one in (rule, balanced)]
        assert drawn[0] == drawn[1]
    assert set(rule.draw(labels, size=30, seed=7, epoch=2)) != set(balanced.draw(labels, size=30, seed=7, epoch=2))


@given(
    st.integers(1, 8), st.integers(1, 60), st.floats(0.01, 1), st.floats(0.01, 1), st.integers(1, 9), st.integers(0, 12)
)
def test_there_is_always_a_negative_and_the_part_is_as_large_as_said(
    n_positive: int, n_negative: int, start: float, end: float, until: int, epoch: int
) -> None:
    labels = np.repeat([1, 0], [n_positive, n_negative])
    rule = CurriculumSampling(start_fraction=start, end_fraction=end, epochs_until_all=until)
    drawing = rule.with_difficulty(np.arange(len(labels), dtype=float))
    rows = drawing.draw(labels, size=200, seed=0, epoch=epoch)
    low, high = rule.part(epoch)
    n_shown = len(set(rows[rows >= n_positive]))
    assert 1 <= n_shown <= n_negative
    assert n_shown == pytest.approx((high - low) * n_negative, abs=1.0)


def test_an_epoch_depends_on_nothing_that_a_process_or_an_earlier_epoch_left_behind() -> None:
    labels, difficulty = example()
    rule = CurriculumSampling().with_difficulty(difficulty)
    first = rule.draw(labels, size=20, seed=3, epoch=2).tolist()
    rule.draw(labels, size=20, seed=3, epoch=5)
    assert rule.draw(labels, size=20, seed=3, epoch=2).tolist() == first
    other = pickle.loads(pickle.dumps(rule))
    assert other.draw(labels, size=20, seed=3, epoch=2).tolist() == first
    assert rule.draw(labels, size=20, seed=4, epoch=2).tolist() != first
    assert CurriculumSampling().with_difficulty(difficulty * 7 - 3).draw(labels, size=20, seed=3, epoch=2).tolist() == (
        first
    ), "only the order of the difficulties counts"


def test_equally_hard_negatives_come_in_the_order_of_the_rows() -> None:
    labels = np.repeat([1, 0], [2, 10])
    rule = CurriculumSampling(start_fraction=0.3).with_difficulty(np.zeros(12))
    rows = rule.draw(labels, size=50, seed=0, epoch=0)
    assert set(rows[labels[rows] == 0]) == {2, 3, 4}


def test_two_processes_share_an_epoch() -> None:
    labels, difficulty = example()
    shares = []
    for world_size, rank in ((1, 0), (2, 0), (2, 1)):
        sampler = EpochSampler(
            CurriculumSampling().with_difficulty(difficulty), rows=np.arange(len(labels)), labels=labels,
            n_records=len(labels), batch_size=8, seed=5, world_size=world_size, rank=rank,
        )  # fmt: skip
        sampler.set_epoch(1)
        shares.append(list(sampler))
    alone, even, odd = shares
    assert [row for pair in zip(even, odd, strict=True) for row in pair] == alone


# -- the DataModule --------------------------------------------------------------------------------------------------


def shown_by(datamodule: Luna16DataModule) -> np.ndarray:
    loader = datamodule.train_dataloader()
    return np.concatenate([batch["index"].numpy() for batch in loader])


def test_a_datamodule_measures_once_asked_and_shows_the_easiest(make_datamodule: Callable[..., Any]) -> None:
    datamodule = make_datamodule(sampling=CurriculumSampling(start_fraction=0.1, epoch_size=64), batch_size=8)
    datamodule.setup()
    difficulty = np.random.default_rng(0).permutation(len(datamodule.records)).astype(np.float32)
    asked = []

    def measure(given: Luna16DataModule) -> np.ndarray:
        asked.append(given)
        return difficulty

    datamodule.measure_difficulty = measure
    rows = shown_by(datamodule)
    assert asked == [datamodule]
    records = datamodule.records
    train = np.flatnonzero((records["partition"] == "train") & (records["label"] == 0))
    easiest = train[np.argsort(difficulty[train])][: round(0.1 * len(train))]
    negatives = rows[records["label"].to_numpy()[rows] == 0]
    assert set(negatives) == set(easiest)


def test_other_rules_never_ask(make_datamodule: Callable[..., Any]) -> None:
    datamodule = make_datamodule(sampling=NaturalSampling())
    datamodule.setup()
    datamodule.measure_difficulty = lambda _: pytest.fail("nobody needs it")
    assert len(shown_by(datamodule))
    assert isinstance(CurriculumSampling(), NeedsDifficulty)
    assert not isinstance(NaturalSampling(), NeedsDifficulty)


def test_without_a_measure_the_datamodule_says_what_to_call(make_datamodule: Callable[..., Any]) -> None:
    datamodule = make_datamodule(sampling=CurriculumSampling())
    datamodule.setup()
    with pytest.raises(RunError, match=r"CurriculumSampling needs to know how hard .* call .*prepare_curriculum"):
        datamodule.train_dataloader()


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"start_fraction": 0.0}, r"start_fraction=0.0 must lie in \(0, 1\]"),
        ({"end_fraction": 1.1}, r"end_fraction=1.1 must lie in \(0, 1\]"),
        ({"start_fraction": float("nan")}, r"start_fraction=nan must lie"),
        ({"epochs_until_all": 0}, "epochs_until_all=0 must be at least 1"),
        ({"ratio": 0.0}, "ratio=0.0 must be > 0"),
        ({"epoch_size": 1}, "epoch_size=1 must be >= 2"),
    ],
)
def test_values_out_of_range(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CurriculumSampling(**changed)


def test_difficulties_that_do_not_belong_to_the_rows() -> None:
    labels, difficulty = example()
    with pytest.raises(RunError, match="knows the difficulty of 0 rows and is to draw from 110"):
        CurriculumSampling().draw(labels, size=8, seed=0, epoch=0)
    with pytest.raises(RunError, match="knows the difficulty of 109 rows"):
        CurriculumSampling().with_difficulty(difficulty[1:]).draw(labels, size=8, seed=0, epoch=0)
    difficulty[3] = np.nan
    with pytest.raises(RunError, match="difficulty of 1 of 110 training rows is not known"):
        CurriculumSampling().with_difficulty(difficulty)


def test_one_class_only() -> None:
    with pytest.raises(SplitError, match="curriculum needs both classes"):
        CurriculumSampling().with_difficulty(np.zeros(5)).draw(np.zeros(5, np.int64), size=4, seed=0, epoch=0)
    with pytest.raises(SplitError, match="curriculum needs both classes"):
        CurriculumSampling().with_difficulty(np.zeros(5)).draw(np.ones(5, np.int64), size=4, seed=0, epoch=0)
