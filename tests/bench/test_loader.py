"""The loader benchmark: raw batches through the DataModule, a baseline of real crops, numbers of workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lungdet.bench import loader as module
from lungdet.bench.drawn import candidates
from lungdet.bench.drawn.candidates import CandidatesInMemory, DrawnCandidates
from lungdet.bench.drawn.volumes import Volumes


@pytest.fixture(autouse=True)
def few_crops(monkeypatch: pytest.MonkeyPatch, shrink: Callable[[object], None]) -> None:
    shrink(module)
    monkeypatch.setattr(candidates, "POOL", 16)
    monkeypatch.setattr(candidates, "BATCH_SIZE", 4)
    monkeypatch.setattr(module, "QUICK_CROPS", 24)


def test_the_baseline_gives_the_batches_of_the_store(volumes: Volumes) -> None:
    given, wanted = (
        make(volumes, codec="none", count=16, num_workers=0) for make in (CandidatesInMemory, DrawnCandidates)
    )
    batches = [list(module.training_loader(one)) for one in (given, wanted)]
    assert len(batches[0]) == len(batches[1]) == 4
    for one, other in zip(*batches, strict=True):
        assert set(one) == {"hu", "label", "index", "draw"}, "no window and no augmentation in the loader"
        assert one["hu"].dtype == torch.int16
        assert all(torch.equal(one[name], other[name]) for name in other)
        image = wanted.on_after_batch_transfer(other, 0)["image"]
        assert (image.dtype, float(image.min()) >= 0, float(image.max()) <= 1) == (torch.float32, True, True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_measures_every_source_and_number_of_workers(
    bench_folder: Path, volumes: Volumes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    lines = module.measure(quick=True, folder=bench_folder)
    sections = list(dict.fromkeys(line.section for line in lines))
    assert sections[:2] == ["DataModule, 0 workers", "DataModule, 2 workers"]
    assert [section.partition(":")[0] for section in sections[2:]] == [
        "training batches from none",
        "training batches from lz4",
    ]
    assert all("type data.num_workers=" in section for section in sections[2:])
    assert [line.name for line in lines[8:11]] == ["0 workers", "1 worker", "2 workers"]
    assert len(lines) == 2 * 4 + 2 * 3
    assert all(line.low > 0 for line in lines)


def test_no_more_workers_than_are_needed() -> None:
    assert module.enough_workers({0: [100, 90, 110], 1: [103], 2: [104]}) == 0
    assert module.enough_workers({0: [50], 1: [99, 99, 1000], 2: [100], 4: [102]}) == 1
    assert module.enough_workers({0: [10], 1: [20], 2: [40]}) == 2


@pytest.mark.parametrize(("cores", "counts"), [(1, [0, 1]), (2, [0, 1, 2]), (16, [0, 1, 2, 4, 8, 16])])
def test_counts_worth_trying(cores: int, counts: list[int]) -> None:
    assert module.worker_counts(cores) == counts
