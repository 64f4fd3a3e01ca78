"""How one epoch is drawn: streams of random numbers, rows taken in turn, and two classes mixed at a ratio."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError, SplitError

IntArray = npt.NDArray[np.int64]

# Keeps the random streams of one seed apart.
POSITIVES, NEGATIVES, ROWS, SHUFFLE = 0, 1, 2, 3


def generator(seed: int, stream: int, epoch: int = 0) -> np.random.Generator:
    """Random numbers of one stream, the same in every process."""
    return np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, stream, epoch])


def in_turn(pool: IntArray, *, size: int, epoch: int, generator: np.random.Generator) -> IntArray:
    """Part number `epoch` of an endless repetition of one shuffled order of the pool, cut into parts of `size`."""
    return generator.permutation(pool)[(epoch * size + np.arange(size)) % len(pool)]


def mixed(
    positives: IntArray, negatives: IntArray, *, ratio: float, size: int, seed: int, epoch: int, rule: str
) -> IntArray:
    """One epoch of `ratio` negatives for each positive, both taken in turn, in the order they are shown.

    Args:
        positives: int64 [P], positions to draw from.
        negatives: int64 [N], likewise.
        ratio: negatives per positive, > 0.
        size: samples of the epoch; at least one of them is positive and one negative.
        seed: of the orders.
        epoch: which part of them.
        rule: who asks, for the error message.

    Returns:
        int64 [size].

    Raises:
        SplitError: no positives or no negatives.
    """
    if not (len(positives) and len(negatives)):
        raise SplitError(
            f"data.sampling: {rule} needs both classes, the training partition holds {len(positives)} positives "
            f"and {len(negatives)} negatives; type another split.fold= or split.seed="
        )
    n_positive = min(max(1, round(size / (1 + ratio))), size - 1)
    drawn = [
        in_turn(positives, size=n_positive, epoch=epoch, generator=generator(seed, POSITIVES)),
        in_turn(negatives, size=size - n_positive, epoch=epoch, generator=generator(seed, NEGATIVES)),
    ]
    return generator(seed, SHUFFLE, epoch).permutation(np.concatenate(drawn))


def check_epoch_size(epoch_size: int | None, *, least: int) -> None:
    """Refuse an epoch with fewer samples than a rule can draw."""
    if epoch_size is not None and epoch_size < least:
        raise ConfigError([f"data.sampling.epoch_size={epoch_size} must be >= {least}, or null for the default"])


def check_ratio(ratio: float) -> None:
    """Refuse a ratio that no epoch can have."""
    if not 0 < ratio < float("inf"):
        raise ConfigError([f"data.sampling.ratio={ratio} must be > 0 (negatives per positive); type 1.0 or 3.0"])
