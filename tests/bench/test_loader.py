"""The loader benchmark: the baseline hands over real crops, and both numbers of workers are measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lungdet.bench import loader as module
from lungdet.bench.volumes import CROP_ZYX, Volumes
from lungdet.data.candidate_dataset import CandidateDataset
from lungdet.store.reader import CtStore


@pytest.fixture(autouse=True)
def few_crops(monkeypatch: pytest.MonkeyPatch, shrink: Callable[[object], None]) -> None:
    shrink(module)
    monkeypatch.setattr(module, "POOL", 16)
    monkeypatch.setattr(module, "BATCH_SIZE", 4)


def test_the_baseline_gives_the_batches_of_the_store(volumes: Volumes) -> None:
    store = CtStore(volumes.stores["none"])
    records = module._records(volumes, count=16)
    memory = module.InMemory(store, records, shape_zyx=CROP_ZYX)
    expected = CandidateDataset(store, records, shape_zyx=CROP_ZYX)
    for draws in ([0, 5, 3], [15]):
        given, wanted = memory.__getitems__(draws), expected.__getitems__(draws)
        assert torch.equal(given["hu"], wanted["hu"])
        assert torch.equal(given["label"], wanted["label"])
        assert torch.equal(given["index"], wanted["index"])
        assert torch.equal(given["draw"], wanted["draw"])


def test_measures_both_numbers_of_workers(bench_folder: Path, volumes: Volumes) -> None:
    lines = module.measure(quick=True, folder=bench_folder)
    assert {line.section for line in lines} == {"DataLoader, 0 workers", "DataLoader, 2 workers"}
    assert {line.baseline for line in lines} == {module.MEMORY}
    assert len(lines) == 6
    assert all(line.low > 0 for line in lines)
