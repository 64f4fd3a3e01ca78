"""`data/sampling=curriculum`: easy negatives first, harder ones as the epochs go by."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from lungdet.data.draws import IntArray, check_epoch_size, check_ratio, mixed
from lungdet.data.sampling import SamplingRule
from lungdet.errors import ConfigError, RunError

FloatArray = npt.NDArray[np.floating]


@runtime_checkable
class NeedsDifficulty(Protocol):
    """A rule that has to know how hard each training row is before it can draw."""

    def with_difficulty(self, difficulty: FloatArray) -> SamplingRule:
        """The same rule, able to draw.

        Args:
            difficulty: float [N], one number for each label that `draw` is given; more is harder.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class CurriculumSampling:
    """`ratio` negatives for each positive as in `BalancedSampling`, but drawn from the easiest part of them at first.

    In epoch e (from 0) that part is `start_fraction + (1 - start_fraction) * e / epochs_until_all` of the negatives.
    From epoch `epochs_until_all` on it is all of them, and epochs are those of `BalancedSampling`, row by row; or, with
    an `end_fraction` below 1, the hardest ones only. Positives all take part from the beginning.

    What an epoch shows is a function of (labels, difficulty, size, seed, epoch), so it is the same in every process and
    after an interruption. Reference: Bengio et al., "Curriculum Learning", ICML 2009, doi:10.1145/1553374.1553380.

    Args:
        ratio: negatives per positive, > 0.
        epoch_size: samples per epoch; null shows every positive once: n_positive * (1 + ratio) samples.
        start_fraction: of the negatives, in (0, 1]: the easiest ones, from which the first epoch is drawn.
        epochs_until_all: epochs until all negatives take part, >= 1.
        end_fraction: of the negatives, in (0, 1]: the hardest ones, from which epochs are drawn from then on.

    Raises:
        ConfigError: a value out of its range.
    """

    ratio: float = 1.0
    epoch_size: int | None = None
    start_fraction: float = 0.2
    epochs_until_all: int = 5
    end_fraction: float = 1.0
    difficulty: FloatArray | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        check_epoch_size(self.epoch_size, least=2)
        problems = [
            f"data.sampling.{name}={value} must lie in (0, 1], a part of the negatives; type data.sampling.{name}=0.5"
            for name, value in (("start_fraction", self.start_fraction), ("end_fraction", self.end_fraction))
            if not 0 < value <= 1
        ]
        if self.epochs_until_all < 1:
            problems.append(f"data.sampling.epochs_until_all={self.epochs_until_all} must be at least 1; type 5")
        if problems:
            raise ConfigError(problems)

    def with_difficulty(self, difficulty: FloatArray) -> CurriculumSampling:
        """See `NeedsDifficulty.with_difficulty`.

        Raises:
            RunError: a difficulty that is not a number.
        """
        unknown = np.isnan(difficulty)
        if unknown.any():
            raise RunError(f"the difficulty of {int(unknown.sum())} of {len(difficulty)} training rows is not known")
        rule = dataclasses.replace(self)
        object.__setattr__(rule, "difficulty", np.asarray(difficulty))
        return rule

    def length(self, labels: IntArray) -> int:
        """`epoch_size`, or what one pass through the positives needs."""
        return self.epoch_size or round(int((labels > 0).sum()) * (1 + self.ratio))

    def part(self, epoch: int) -> tuple[float, float]:
        """Which part of the negatives, from the easiest (0) to the hardest (1), an epoch is drawn from.

        Example:
            >>> rule = CurriculumSampling(start_fraction=0.5, epochs_until_all=4, end_fraction=0.25)
            >>> [rule.part(epoch) for epoch in (0, 2, 4, 9)]
            [(0.0, 0.5), (0.0, 0.75), (0.75, 1.0), (0.75, 1.0)]
        """
        if epoch >= self.epochs_until_all:
            return 1 - self.end_fraction, 1.0
        return 0.0, self.start_fraction + (1 - self.start_fraction) * epoch / self.epochs_until_all

    def draw(self, labels: IntArray, *, size: int, seed: int, epoch: int) -> IntArray:
        """See `SamplingRule.draw`.

        Raises:
            SplitError: no positives or no negatives.
            RunError: the difficulty is not known yet, or known for other rows.
        """
        if self.difficulty is None or len(self.difficulty) != len(labels):
            known = 0 if self.difficulty is None else len(self.difficulty)
            raise RunError(
                f"data.sampling: curriculum knows the difficulty of {known} rows and is to draw from {len(labels)}; "
                "give it with with_difficulty() (training does: lungdet.training.curriculum)"
            )
        negatives = np.flatnonzero(labels == 0)
        # Equally hard ones in the order of the rows, so that nothing depends on how a machine sorts.
        from_easy = negatives[np.argsort(self.difficulty[negatives], kind="stable")]
        low, high = self.part(epoch)
        first = min(round(low * len(negatives)), len(negatives) - 1) if len(negatives) else 0
        pool = from_easy[first : max(first + 1, round(high * len(negatives)))]
        return mixed(
            np.flatnonzero(labels > 0), np.sort(pool), ratio=self.ratio, size=size, seed=seed, epoch=epoch,
            rule="curriculum",
        )  # fmt: skip
