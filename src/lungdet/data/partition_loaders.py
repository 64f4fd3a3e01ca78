"""From records with partitions to loaders: the part of a DataModule that does not care what a sample is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from lungdet.data.candidate_dataset import make_loader
from lungdet.data.curriculum import NeedsDifficulty
from lungdet.data.sampling import EpochSampler, EvaluationSampler, SamplingRule
from lungdet.errors import ConfigError, RunError


class PartitionLoaders(LightningDataModule):
    """Loaders of the training, validation and test rows, shared by the processes of a run.

    Args:
        sampling: which training rows an epoch shows.
        batch_size: samples per step of all processes together, so that one and two devices train alike; must be a
            multiple of their number. Batches of training are always whole.
        num_workers: loader processes for each training process.
        seed: of the order of the batches.

    Raises:
        ConfigError: batch_size < 1 or num_workers < 0.
    """

    sampler_class: type[EpochSampler] = EpochSampler

    def __init__(self, *, sampling: SamplingRule, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        problems = []
        if batch_size < 1:
            problems.append(f"data.batch_size={batch_size} must be at least 1")
        if num_workers < 0:
            problems.append(f"data.num_workers={num_workers} must be 0 (load in the main process) or more")
        if problems:
            raise ConfigError(problems)
        self.sampling, self.seed = sampling, seed
        self.batch_size, self.num_workers = batch_size, num_workers
        # How hard each row is, float [N] by row of `records`, NaN where it does not train: asked after setup, and only
        # by rules that need it. Training puts it here (`lungdet.training.curriculum`).
        self.measure_difficulty: Callable[[Any], npt.NDArray[np.floating]] | None = None

    # -- what a DataModule says ----------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def records(self) -> pd.DataFrame:
        """One row a sample, with `partition` and `label`."""

    @abstractmethod
    def _dataset(self, *, training: bool) -> Any:
        """Makes batches from draw numbers."""

    @abstractmethod
    def _evaluation_batch_size(self) -> int:
        """Samples of an evaluation batch."""

    @abstractmethod
    def _shown_rows(self) -> npt.NDArray[np.int64]:
        """Rows that epochs are drawn from, repeated where one is to be drawn more often: int64 [M]."""

    # -- loaders -------------------------------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader[Any]:
        """Epochs of `sampling`; the sampler follows Lightning's epoch."""
        rows = self._shown_rows()
        world_size, rank = self._processes
        sampler = self.sampler_class(
            self._rule(rows),
            rows=rows,
            labels=self.records["label"].to_numpy(np.int64)[rows],
            n_records=len(self.records),
            batch_size=self.batch_size,
            seed=self.seed,
            world_size=world_size,
            rank=rank,
        )
        return self._loader(sampler, training=True, batch_size=self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every validation sample, in order."""
        return self._in_order(self._rows("val"))

    def test_dataloader(self) -> DataLoader[Any]:
        """Every test sample, in order."""
        return self._in_order(self._rows("test"))

    def _rule(self, rows: npt.NDArray[np.int64]) -> SamplingRule:
        """`sampling`, told how hard these rows are where it needs that."""
        if not isinstance(self.sampling, NeedsDifficulty):
            return self.sampling
        if self.measure_difficulty is None:
            raise RunError(
                f"data.sampling: {type(self.sampling).__name__} needs to know how hard the negatives are, and nothing "
                "was given that measures it; call lungdet.training.curriculum.prepare_curriculum(datamodule) first"
            )
        return self.sampling.with_difficulty(self.measure_difficulty(self)[rows])

    @property
    def _processes(self) -> tuple[int, int]:
        """Number of training processes, and which of them this is."""
        return (1, 0) if self.trainer is None else (self.trainer.world_size, self.trainer.global_rank)

    def _rows(self, partition: str) -> npt.NDArray[np.int64]:
        return np.flatnonzero(self.records["partition"].to_numpy() == partition)

    def _in_order(self, rows: npt.NDArray[np.int64]) -> DataLoader[Any]:
        world_size, rank = self._processes
        sampler = EvaluationSampler(rows, world_size=world_size, rank=rank, n_records=len(self.records))
        batch_size = -(-self._evaluation_batch_size() // world_size) * world_size
        return self._loader(sampler, training=False, batch_size=batch_size)

    def _loader(self, sampler: Sampler[int], *, training: bool, batch_size: int) -> DataLoader[Any]:
        return make_loader(
            self._dataset(training=training),
            sampler,
            batch_size=batch_size,
            world_size=self._processes[0],
            num_workers=self.num_workers,
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )
