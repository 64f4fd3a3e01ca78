"""Cases that are there are read, the others worked out and kept, and failures do not cost the others their work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungdet.cli.case_work import Parts, work_out
from lungdet.errors import RunError
from lungdet.executors.local import LocalExecutor
from lungdet.executors.outcome import Outcome
from lungdet.explanations.case_store import CaseStore


class Failing:
    """An executor for which odd rows fail; it tells what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[Any, ...]] = {}
        self.shared: Path | None = None

    def run(
        self, work: Callable[..., Any], jobs: Mapping[str, tuple[Any, ...]], *, shared: Path | None = None
    ) -> Iterator[Outcome[Any]]:
        self.asked, self.shared = dict(jobs), shared
        for name, (row,) in jobs.items():
            yield Outcome(name, None, f"row {row} is odd") if row % 2 else Outcome(name, work(name, row))


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    return CaseStore(tmp_path / "cases", key={"a": 1})


def shown(name: str, row: int) -> Parts:
    return {"row": row, "name": name}, {"heat": np.full((2, 2), row)}


def done(store: CaseStore, rows: dict[str, int], executor: Any, folder: Path) -> dict[str, Parts]:
    work: Any = shown
    return work_out(work, rows, store, executor, title="cases", shared=folder)


def test_each_case_is_worked_out_once(store: CaseStore, tmp_path: Path) -> None:
    first = done(store, {"a": 2, "b": 3}, LocalExecutor(), tmp_path)
    assert {name: record for name, (record, _) in first.items()} == {
        "a": {"row": 2, "name": "a"},
        "b": {"row": 3, "name": "b"},
    }
    executor = Failing()
    again = done(store, {"a": 2, "b": 3, "c": 4}, executor, tmp_path)
    assert executor.asked == {"c": (4,)}
    assert executor.shared == tmp_path
    assert set(again) == {"a", "b", "c"}
    np.testing.assert_array_equal(again["b"][1]["heat"], np.full((2, 2), 3))


def test_failures_are_told_at_the_end_and_the_others_kept(store: CaseStore, tmp_path: Path) -> None:
    with pytest.raises(RunError) as failed:
        done(store, {"z": 1, "a": 2, "b": 3}, Failing(), tmp_path)
    assert str(failed.value) == (
        "2 of 3 cases failed; the others are kept, type the same again\n  b: row 3 is odd\n  z: row 1 is odd"
    )
    assert store.read("a") is not None
    assert store.read("b") is None


def test_no_cases_are_no_work(store: CaseStore, tmp_path: Path) -> None:
    executor = Failing()
    assert done(store, {}, executor, tmp_path) == {}
    assert executor.asked == {}
