"""What is announced: the pages of the chunks asked for, once, merged where they are neighbours."""

from __future__ import annotations

import mmap

import numpy as np
import pytest

from lungdet.store import read_ahead as module
from lungdet.store.read_ahead import ReadAhead, file_ranges

PAGE = mmap.PAGESIZE


class Map:
    """Stands for a memory map and keeps what it was told."""

    def __init__(self) -> None:
        self.advice: list[tuple[int, ...]] = []

    def madvise(self, *advice: int) -> None:
        self.advice.append(advice)

    def announced(self) -> list[tuple[int, int]]:
        told = [(a[1], a[2]) for a in self.advice if a[0] == mmap.MADV_WILLNEED]
        self.advice.clear()
        return told


def index_of(*entries: tuple[int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(entries, np.int64).reshape(1, 1, -1, 2)


ALL = (slice(0, 1), slice(0, 1), slice(0, 8))


def test_only_the_chunks_asked_for_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    data = Map()
    ahead = ReadAhead(data, index_of((0, 500), (50 * PAGE, 700), (100 * PAGE, 900)))  # type: ignore[arg-type]
    assert data.advice == [(mmap.MADV_RANDOM,)], "the kernel's own read-ahead is off"
    ahead.announce((slice(0, 1), slice(0, 1), slice(1, 2)))
    assert data.announced() == [(50 * PAGE, 700)]
    ahead.announce((slice(0, 1), slice(0, 1), slice(1, 2)))
    assert data.announced() == []
    clock[0] += module.RESIDENT_SECONDS + 1
    ahead.announce((slice(0, 1), slice(0, 1), slice(1, 2)))
    assert data.announced() == [(50 * PAGE, 700)], "it may have been evicted since"


def test_requests_begin_on_a_page_and_are_short_enough_for_the_kernel() -> None:
    data = Map()
    size = 2 * module.REQUEST_BYTES
    ReadAhead(data, index_of((PAGE + 10, size))).announce(ALL)  # type: ignore[arg-type]
    told = data.announced()
    assert all(start % PAGE == 0 and length <= module.REQUEST_BYTES for start, length in told)
    assert told[0][0] == PAGE
    assert sum(length for _, length in told) == size + 10


def test_neighbours_are_merged_and_missing_chunks_left_out() -> None:
    gap = module.MERGE_BYTES
    ranges = file_ranges(np.array([[-1, -1], [1000, 500], [0, 1000], [1500 + gap, 10], [1511 + 2 * gap, 10]]))
    assert ranges == [(0, 1510 + gap), (1511 + 2 * gap, 1521 + 2 * gap)]
