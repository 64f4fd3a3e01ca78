"""Which rows an epoch shows, in which order, and which of them each process takes.

Rules are plain classes named by YAML. The order of an epoch depends on (seed, epoch) only and is the same in every
process; rank r of w takes elements r, r + w, r + 2w, ... of it, so one and two processes train on the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from torch.utils.data import Dataset, DistributedSampler

from lungdet.data.draws import ROWS, SHUFFLE, IntArray, check_epoch_size, check_ratio, generator, in_turn, mixed
from lungdet.errors import ConfigError, SplitError

_NUMBERS_AT_ONCE = 4096


class SamplingRule(Protocol):
    """What `data.sampling` names; both methods are pure functions. Label 0 is negative, every other is positive."""

    def length(self, labels: IntArray) -> int:
        """Samples in one epoch, before the sampler rounds it up to whole batches."""
        ...

    def draw(self, labels: IntArray, *, size: int, seed: int, epoch: int) -> IntArray:
        """Positions (0..len(labels)-1) of one epoch in the order they are shown: int64 [size]."""
        ...


@dataclass(frozen=True, kw_only=True)
class NaturalSampling:
    """Every row once per epoch, in a new order each time; classes as frequent as the collection has them.

    Whole batches may need a few places more than there are rows; those are filled with rows in turn over the epochs.

    Args:
        epoch_size: samples per epoch; null takes as many as there are rows. With fewer, none comes again before all
            have been shown, over the epochs.

    Raises:
        ConfigError: an epoch_size < 1.
    """

    epoch_size: int | None = None

    def __post_init__(self) -> None:
        check_epoch_size(self.epoch_size, least=1)

    def length(self, labels: IntArray) -> int:
        """`epoch_size`, or the number of rows."""
        return self.epoch_size or len(labels)

    def draw(self, labels: IntArray, *, size: int, seed: int, epoch: int) -> IntArray:
        """See `SamplingRule.draw`."""
        rows = in_turn(np.arange(len(labels)), size=size, epoch=epoch, generator=generator(seed, ROWS))
        return generator(seed, SHUFFLE, epoch).permutation(rows)


@dataclass(frozen=True, kw_only=True)
class BalancedSampling:
    """`ratio` negatives for each positive; how often each positive is shown differs by one at most.

    Negatives are taken in turn from one shuffled order: none comes again before all have been shown, and every epoch
    shows another part of them.

    Args:
        ratio: negatives per positive, > 0.
        epoch_size: samples per epoch; null shows every positive once: n_positive * (1 + ratio) samples.

    Raises:
        ConfigError: a ratio <= 0 or an epoch_size < 2.
    """

    ratio: float = 1.0
    epoch_size: int | None = None

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_epoch_size(self.epoch_size, least=2)

    def length(self, labels: IntArray) -> int:
        """`epoch_size`, or what one pass through the positives needs."""
        return self.epoch_size or round(int((labels > 0).sum()) * (1 + self.ratio))

    def draw(self, labels: IntArray, *, size: int, seed: int, epoch: int) -> IntArray:
        """See `SamplingRule.draw`.

        Raises:
            SplitError: no positives or no negatives to balance.
        """
        positives, negatives = np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)
        return mixed(positives, negatives, ratio=self.ratio, size=size, seed=seed, epoch=epoch, rule="balanced")


@dataclass(frozen=True, kw_only=True)
class WeightedSampling:
    """Rows drawn with replacement, each with the weight of its class.

    Args:
        weights: one number >= 0 per class in label order, or "inverse" to show all classes equally often.
        epoch_size: samples per epoch; null takes as many as there are rows.

    Raises:
        ConfigError: weights that are negative, all zero or not numbers, an epoch_size < 1.
    """

    weights: str | Sequence[float] = "inverse"
    epoch_size: int | None = None

    def __post_init__(self) -> None:
        check_epoch_size(self.epoch_size, least=1)
        if self.weights == "inverse":
            return
        given = () if isinstance(self.weights, str) else tuple(float(w) for w in self.weights)
        if not given or not all(0 <= w < float("inf") for w in given) or sum(given) == 0:
            raise ConfigError(
                [
                    f"data.sampling.weights={self.weights!r} must be 'inverse' or one number >= 0 per class, "
                    "not all 0; type data.sampling.weights=[1,20]"
                ]
            )
        object.__setattr__(self, "weights", given)

    def length(self, labels: IntArray) -> int:
        """`epoch_size`, or the number of rows."""
        return self.epoch_size or len(labels)

    def draw(self, labels: IntArray, *, size: int, seed: int, epoch: int) -> IntArray:
        """See `SamplingRule.draw`.

        Raises:
            SplitError: more classes than weights, or only rows of weight 0.
        """
        counts = np.bincount(labels)
        if isinstance(self.weights, str):
            mass = (counts > 0).astype(np.float64)
        elif len(counts) > len(self.weights):
            raise SplitError(
                f"data.sampling.weights has {len(self.weights)} numbers for {len(counts)} classes; give one per class"
            )
        else:
            mass = counts * np.asarray(self.weights, dtype=np.float64)[: len(counts)]
        if mass.sum() == 0:
            raise SplitError(
                f"data.sampling.weights={self.weights}: all {len(labels)} training rows have weight 0 "
                f"(rows per class: {counts.tolist()})"
            )
        random = generator(seed, SHUFFLE, epoch)
        classes = random.choice(len(counts), size=size, p=mass / mass.sum())
        by_class = np.argsort(labels, kind="stable")
        first = np.cumsum(counts) - counts
        within = np.floor(random.random(size) * counts[classes]).astype(np.int64)
        drawn: IntArray = by_class[first[classes] + within]
        return drawn


class EpochSampler(DistributedSampler[int]):
    """Training order of one process: draws of `rule`, rounded up to whole global batches.

    It is a DistributedSampler so that Lightning never shards it a second time. It yields *draw numbers*
    `row + n_records * k`, k counting the earlier appearances of that row in the epoch, so that a row shown twice is
    augmented in two ways; `row_of_draw` gives the row back.

    Args:
        rule: how often each row comes.
        rows: int64 [N], the records that may be shown.
        labels: int64 [N], their labels.
        n_records: rows of the whole record table, > max(rows).
        batch_size: of all processes together; a multiple of world_size.
        seed: of the order.
        world_size: number of processes.
        rank: this one.
    """

    def __init__(
        self,
        rule: SamplingRule,
        *,
        rows: IntArray,
        labels: IntArray,
        n_records: int,
        batch_size: int,
        seed: int,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        size = -(-rule.length(labels) // batch_size) * batch_size
        super().__init__(_sized(size), num_replicas=world_size, rank=rank, shuffle=False)
        self.rule, self.rows, self.labels = rule, rows, labels
        self.n_records, self.size, self.sampling_seed = n_records, size, seed

    def __len__(self) -> int:
        return self.size // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        order = self.rule.draw(self.labels, size=self.size, seed=self.sampling_seed, epoch=self.epoch)
        rows = self.rows[order]
        draws = rows + self.n_records * _appearances_before(rows)
        return _one_by_one(draws[self.rank :: self.num_replicas])


class EvaluationSampler(DistributedSampler[int]):
    """Every row once, in order; with several processes a few rows come twice so that all ranks have equally many.

    It yields draw numbers as `EpochSampler` does, so that a repeated row can be told from the first.

    Args:
        rows: int64 [N], the records to score.
        n_records: rows of the whole record table, > max(rows).
        world_size: number of processes.
        rank: this one.
    """

    def __init__(self, rows: IntArray, *, n_records: int, world_size: int = 1, rank: int = 0) -> None:
        size = -(-len(rows) // world_size) * world_size
        super().__init__(_sized(size), num_replicas=world_size, rank=rank, shuffle=False)
        repeated = np.arange(size) // max(1, len(rows))
        self.padded = np.resize(rows, size) + n_records * repeated

    def __len__(self) -> int:
        return len(self.padded) // self.num_replicas

    def __iter__(self) -> Iterator[int]:
        return _one_by_one(self.padded[self.rank :: self.num_replicas])


def row_of_draw(draws: IntArray, *, n_records: int) -> IntArray:
    """Rows of draw numbers (see `EpochSampler`): int64 [N]."""
    return draws % n_records


def _appearances_before(rows: IntArray) -> IntArray:
    """How often each element occurred earlier in the array: [7, 3, 7, 7] gives [0, 0, 1, 2]."""
    order = np.argsort(rows, kind="stable")
    is_first = np.diff(rows[order], prepend=-1) != 0
    place = np.arange(len(rows))
    counts = np.empty_like(rows)
    counts[order] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    return counts


def _one_by_one(draws: IntArray) -> Iterator[int]:
    """Python numbers, a few thousand at a time: those of an epoch of 755,000 rows would take 30 MB."""
    for start in range(0, len(draws), _NUMBERS_AT_ONCE):
        yield from draws[start : start + _NUMBERS_AT_ONCE].tolist()


def _sized(size: int) -> Dataset[Any]:
    # DistributedSampler only ever asks its dataset for its length.
    return cast(Dataset[Any], range(size))
