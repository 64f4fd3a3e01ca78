"""The table benchmark on a small folder, and that a worker of ours shares the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lungdet.bench import tables
from lungdet.bench.baselines.book_tables import TableCost
from lungdet.bench.drawn.luna16_folder import TableSizes

SIZES = TableSizes(20, 60_000, 60)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    def here(function: Callable[..., object], *arguments: object) -> tuple[object, float]:
        return function(*arguments), 123.0

    monkeypatch.setattr(tables, "SIZES", SIZES)
    monkeypatch.setattr(tables, "in_new_process", here)


def test_measures_time_memory_and_what_a_worker_copies(tmp_path: Path) -> None:
    lines = tables.measure(quick=True, folder=tmp_path)
    assert {line.baseline for line in lines} == {tables.BOOK}
    sections = list(dict.fromkeys(line.section for line in lines))
    assert sections[0] == "60,000 candidates of 20 series: read, matched, split, sampled"
    assert [line.name for line in lines if line.section == sections[0]] == [tables.BOOK, tables.OURS]
    assert all(line.peak_mb == 123.0 for line in lines if line.section == sections[0])
    if len(sections) == 2:
        book, ours = (line for line in lines if line.section == sections[1])
        assert ours.ratio > 3, "workers share our table"
        assert book.unit == "rows/MB copied"


def test_the_folder_is_made_once(tmp_path: Path) -> None:
    root, store = tables.prepare(tmp_path, SIZES)
    written = (root / "candidates_V2.csv").stat().st_mtime_ns
    assert tables.prepare(tmp_path, SIZES) == (root, store)
    assert (root / "candidates_V2.csv").stat().st_mtime_ns == written


def test_a_worker_that_copies_nothing_has_no_infinite_rate() -> None:
    cost = TableCost(1.0, 1.0, 0.0)
    assert tables._rows_per_mb([cost]) == [600_000.0]
    assert tables._rows_per_mb([cost._replace(worker_mb=None)]) == []
