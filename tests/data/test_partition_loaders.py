"""Loaders of a table of ten rows without pixels: who is shown where, whole batches, what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from lungdet.data.curriculum import CurriculumSampling
from lungdet.data.partition_loaders import PartitionLoaders
from lungdet.data.sampling import EvaluationSampler, NaturalSampling, SamplingRule
from lungdet.errors import ConfigError, RunError

PARTITIONS = ["train", "val", "train", "test", "train", "val", "train", "test", "train", "test"]


class Rows:
    """A dataset whose batches are draw numbers."""

    def __init__(self, *, training: bool) -> None:
        self.training = training

    def __len__(self) -> int:
        return len(PARTITIONS)

    def __getitems__(self, draws: list[int]) -> torch.Tensor:
        return torch.tensor(draws)


class Table(PartitionLoaders):
    """Ten rows; odd ones are positive."""

    def __init__(self, *, partitions: list[str] = PARTITIONS, evaluation_batch: int = 2, **changed: Any) -> None:
        given: dict[str, Any] = {"sampling": NaturalSampling(), "batch_size": 4, "num_workers": 0, "seed": 0}
        super().__init__(**(given | changed))
        self.partitions, self.evaluation_batch = partitions, evaluation_batch

    @property
    def records(self) -> pd.DataFrame:
        return pd.DataFrame({"partition": self.partitions, "label": np.arange(len(self.partitions)) % 2})

    def _dataset(self, *, training: bool) -> Rows:
        return Rows(training=training)

    def _evaluation_batch_size(self) -> int:
        return self.evaluation_batch

    def _shown_rows(self) -> npt.NDArray[np.int64]:
        return self._rows("train")


def test_everything_wrong_is_told_together() -> None:
    with pytest.raises(ConfigError) as refused:
        Table(batch_size=0, num_workers=-1)
    assert refused.value.problems == [
        "data.batch_size=0 must be at least 1",
        "data.num_workers=-1 must be 0 (load in the main process) or more",
    ]


def test_validation_and_test_come_in_order_with_what_is_left_over() -> None:
    table = Table()
    assert [batch.tolist() for batch in table.val_dataloader()] == [[1, 5]]
    assert [batch.tolist() for batch in table.test_dataloader()] == [[3, 7], [9]]
    assert table.val_dataloader().dataset.training is False  # type: ignore[attr-defined]


def test_training_shows_its_rows_in_whole_batches() -> None:
    """Five rows in batches of four make eight places, so three rows come twice, under draw numbers of their own."""
    loader = Table().train_dataloader()
    assert loader.dataset.training is True  # type: ignore[attr-defined]
    batches = [batch.tolist() for batch in loader]
    assert [len(batch) for batch in batches] == [4, 4]
    draws = [draw for batch in batches for draw in batch]
    assert len(set(draws)) == 8
    assert {draw % 10 for draw in draws} == {0, 2, 4, 6, 8}


def test_a_partition_without_rows_has_no_batches() -> None:
    table = Table(partitions=["train"] * 4)
    assert list(table.val_dataloader()) == list(table.test_dataloader()) == []


def test_processes_share_batches_and_evaluation_is_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three processes and an evaluation batch of 4: 6 together, 2 each."""
    monkeypatch.setattr(PartitionLoaders, "_processes", (3, 1))
    table = Table(batch_size=6, evaluation_batch=4)
    loader = table.test_dataloader()
    assert isinstance(loader.sampler, EvaluationSampler)
    assert [batch.tolist() for batch in loader] == [[7]], "the second of three"
    assert loader.batch_size == 2
    assert [len(batch) for batch in table.train_dataloader()] == [2]
    with pytest.raises(ConfigError, match=r"data\.batch_size=4 is shared by 3 processes .*type data\.batch_size=6"):
        Table(batch_size=4).train_dataloader()


def test_a_trainer_says_which_process_this_is() -> None:
    table = Table()
    assert table._processes == (1, 0)
    table.trainer = SimpleNamespace(world_size=4, global_rank=2)  # type: ignore[assignment]
    assert table._processes == (4, 2)


def test_a_rule_that_needs_difficulty_is_told_that_of_its_rows() -> None:
    rule = CurriculumSampling()
    table = Table(sampling=rule)
    with pytest.raises(RunError, match=r"data\.sampling: CurriculumSampling needs to know how hard .*prepare_curric"):
        table.train_dataloader()
    asked: list[npt.NDArray[Any]] = []

    class Recording:
        def with_difficulty(self, difficulty: npt.NDArray[Any]) -> SamplingRule:
            asked.append(difficulty)
            return NaturalSampling()

    table.sampling = Recording()  # type: ignore[assignment]
    table.measure_difficulty = lambda datamodule: np.arange(len(datamodule.records), dtype=np.float64) / 10
    table.train_dataloader()
    assert asked[0].tolist() == [0.0, 0.2, 0.4, 0.6, 0.8]
