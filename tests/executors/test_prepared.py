"""Work that is prepared once in each process, and travels as a recipe."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from tests.executors import jobs

from lungdet.errors import ConfigError
from lungdet.executors.prepared import Prepared


def test_here_nothing_is_made() -> None:
    here = jobs.Counter(5)
    work: Prepared[Any] = Prepared(jobs.make_counter, {"first": -1}, "ask", here=here)
    assert work("a", 2)[1] == 7
    assert here.count == 7


def test_elsewhere_it_is_made_once_of_one_recipe() -> None:
    given: Prepared[Any] = Prepared(jobs.make_counter, {"first": 1}, "ask", here=jobs.Counter(100))
    for expected in (2, 3):
        there = pickle.loads(pickle.dumps(given))
        assert there("a", 1)[1] == expected
    other: Prepared[Any] = Prepared(jobs.make_counter, {"first": 10}, "ask")
    assert other("a", 1)[1] == 11
    again = pickle.loads(pickle.dumps(given))
    assert again("a", 1)[1] == 2, "only the last thing is kept"


def test_what_cannot_be_made_is_told_and_tried_again() -> None:
    work: Prepared[Any] = Prepared(jobs.make_counter, {"first": -1}, "ask")
    for _ in range(2):
        with pytest.raises(ConfigError, match="first: too small"):
            work("a", 1)
