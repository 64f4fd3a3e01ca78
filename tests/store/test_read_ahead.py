"""What is announced, and when: the pages of the chunks asked for, merged where they are neighbours, on a cold cache."""

from __future__ import annotations

import mmap
import resource
from types import SimpleNamespace

import numpy as np
import pytest

from lungdet.store import read_ahead as module
from lungdet.store.read_ahead import DiskWatch, announce, file_ranges

PAGE = mmap.PAGESIZE


class Map:
    """Stands for a memory map and keeps what it was told."""

    def __init__(self) -> None:
        self.advice: list[tuple[int, ...]] = []

    def madvise(self, *advice: int) -> None:
        self.advice.append(advice)


def index_of(*entries: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(entries, np.int64).reshape(1, 1, -1, 2)


def test_requests_begin_on_a_page_and_are_short_enough_for_the_kernel() -> None:
    data = Map()
    size = 2 * module.REQUEST_BYTES
    announce(data, index_of((PAGE + 10, size)))  # type: ignore[arg-type]
    assert all(advice == mmap.MADV_WILLNEED for advice, _, _ in data.advice)
    assert all(start % PAGE == 0 and length <= module.REQUEST_BYTES for _, start, length in data.advice)
    assert data.advice[0][1] == PAGE
    assert sum(length for _, _, length in data.advice) == size + 10


def test_chunks_are_announced_only_while_reading_waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [7]
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_majflt=faults[0]))
    watch = DiskWatch()
    assert watch.should_announce(), "a new process does not know"
    watch.announced(module.ANNOUNCED_AFTER_WAITING)
    assert not watch.should_announce()
    watch.begin()
    watch.was_read()
    assert not watch.should_announce(), "no fault while it was read"
    faults[0] += 1
    watch.was_read()
    assert watch.should_announce()
    watch.announced(module.ANNOUNCED_AFTER_WAITING - 1)
    assert watch.should_announce()
    watch.announced(64)
    assert not watch.should_announce(), "one without, to see"
    faults[0] += 5  # of somebody else, between two batches
    watch.begin()
    watch.was_read()
    assert not watch.should_announce()


def test_neighbours_are_merged_and_missing_chunks_left_out() -> None:
    gap = module.MERGE_BYTES
    ranges = file_ranges(np.array([[-1, -1], [1000, 500], [0, 1000], [1500 + gap, 10], [1511 + 2 * gap, 10]]))
    assert ranges == [(0, 1510 + gap), (1511 + 2 * gap, 1521 + 2 * gap)]
