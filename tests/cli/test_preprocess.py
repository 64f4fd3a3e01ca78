"""How failures are told, whether a worker returned them or died; whole calls run in `end_to_end`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lungdet.cli.preprocess import _failures, _tell_failures
from lungdet.errors import StoreError
from lungdet.executors.local import LocalExecutor
from lungdet.executors.outcome import Outcome


def answered(name: str, answer: str | None) -> str | None:
    return answer


class Dying:
    """An executor that gives up every job."""

    def run(
        self, work: Callable[..., Any], jobs: Mapping[str, tuple[Any, ...]], *, shared: Path | None = None
    ) -> Iterator[Outcome[Any]]:
        assert shared == Path("stores")
        return (Outcome(name, None, "its process died") for name in jobs)


def test_what_a_job_returns_is_its_failure() -> None:
    jobs = {"a": (None,), "b": ("no such file",)}
    assert list(_failures(LocalExecutor(), None, answered, jobs)) == [("a", None), ("b", "no such file")]


def test_a_job_that_was_given_up_failed_too() -> None:
    """Else a scan whose worker was killed would count as stored."""
    executor: Any = Dying()
    assert list(_failures(executor, Path("stores"), answered, {"a": (None,)})) == [("a", "its process died")]


def test_failures_are_listed_by_name() -> None:
    _tell_failures({}, n=3, items="scans")
    with pytest.raises(StoreError) as told:
        _tell_failures({"2": "second", "1": "first"}, n=3, items="images")
    assert str(told.value) == "2 of 3 images failed; the others are stored.\n  1: first\n  2: second"
