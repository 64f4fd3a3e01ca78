"""Whatever happens in one job is an outcome; nothing but the process itself can take the others along."""

from __future__ import annotations

import logging

import cv2
import pytest

from lungdet.errors import StoreError
from lungdet.executors.attempt import attempt
from lungdet.executors.outcome import Outcome
from lungdet.executors.prepared import Prepared


def ends(name: str, how: str) -> str:
    """Return, or raise what is asked for."""
    if how == "ours":
        raise StoreError("no store there")
    if how == "memory":
        raise MemoryError
    if how == "theirs":
        raise KeyError("spacing")
    return f"{name} done"


@pytest.mark.parametrize(
    ("how", "failure"),
    [("ours", "no store there"), ("memory", "not enough memory"), ("theirs", "KeyError: 'spacing'")],
)
def test_errors_become_the_failure_of_their_job(how: str, failure: str) -> None:
    logging.disable()
    try:
        assert attempt(ends, "a", (how,), threads=1) == Outcome("a", None, failure)
    finally:
        logging.disable(logging.NOTSET)


def test_a_job_that_ends_well_has_a_value_and_its_threads() -> None:
    before = cv2.getNumThreads()
    try:
        assert attempt(ends, "a", ("well",), threads=1) == Outcome("a", "a done")
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


def refuse(recipe: dict[str, str]) -> object:
    """Fail to make what the jobs need."""
    raise StoreError(f"no run at {recipe['run']}")


def test_what_cannot_be_made_is_the_failure_of_the_job() -> None:
    work: Prepared[str] = Prepared(refuse, {"run": "runs/a"}, "show")
    assert attempt(work, "a", (), threads=1).failure == "no run at runs/a"
