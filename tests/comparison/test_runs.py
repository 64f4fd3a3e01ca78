"""What runs are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.comparison.runs import run_names
from lungdet.errors import ConfigError


def test_names_take_as_many_parents_as_they_need() -> None:
    assert run_names([Path("/r/a"), Path("/r/b")]) == ("a", "b")
    assert run_names([Path("/r/x/0"), Path("/r/y/0"), Path("/r/x/1")]) == ("x/0", "y/0", "x/1")
    assert run_names([Path("/one/runs/last"), Path("/two/runs/last")]) == ("one/runs/last", "two/runs/last")


def test_names_as_told() -> None:
    assert run_names([Path("/r/a"), Path("/r/b")], ["small", "large"]) == ("small", "large")


def test_all_that_does_not_fit_is_said_at_once() -> None:
    with pytest.raises(ConfigError, match=r"at least two, got 1; type runs=\[first,second\]"):
        run_names([Path("/r/a")])
    with pytest.raises(ConfigError) as refused:
        run_names([Path("/r/a"), Path("/r/a"), Path("/r/b")], ["x", "x"])
    assert "/r/a is given 2 times" in refused.value.problems[0]
    assert "names: 2 for 3 runs" in refused.value.problems[1]
    assert "names: 'x' is given 2 times" in refused.value.problems[2]
