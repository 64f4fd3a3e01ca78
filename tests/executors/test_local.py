"""The default executor: in this process as a plain call would be, or in processes, with an outcome for every job."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.executors import jobs

from lungdet.errors import ConfigError
from lungdet.executors.local import LocalExecutor
from lungdet.executors.outcome import Outcome
from lungdet.executors.prepared import Prepared
from lungdet.store.processes import DIED


def test_in_this_process_errors_are_raised_as_they_are() -> None:
    with LocalExecutor() as executor:
        outcomes = executor.run(jobs.square, {"a": (2,), "odd": (0,)})
        assert next(outcomes) == Outcome("a", 4)
        with pytest.raises(ValueError, match="never seen before"):
            next(outcomes)


@pytest.mark.slow
def test_in_processes_every_job_has_an_outcome(tmp_path: Path) -> None:
    with LocalExecutor(workers=2) as executor:
        asked = {"a": (2,), "refused": (0,), "odd": (0,), "b": (3,)}
        outcomes = {outcome.name: outcome for outcome in executor.run(jobs.square, asked)}
        killed = list(executor.run(jobs.die_once, dict.fromkeys(["a", "always"], (tmp_path,))))
        work: Prepared[tuple[int, int]] = Prepared(jobs.make_counter, {"first": 1}, "ask", here=object())
        counted = [outcome.value for outcome in executor.run(work, {"a": (1,), "b": (1,), "c": (1,)})]
    assert outcomes == {
        "a": Outcome("a", 4),
        "b": Outcome("b", 9),
        "refused": Outcome("refused", None, "a: wrong\nb: wrong"),
        "odd": Outcome("odd", None, "ValueError: never seen before"),
    }
    assert sorted(killed, key=str) == [Outcome("a", "a"), Outcome("always", None, DIED)]
    assert sorted(value[1] for value in counted if value is not None)[-1] >= 3, "one process made it once, asked twice"


def test_as_many_processes_as_cores() -> None:
    assert LocalExecutor(workers=None).workers == LocalExecutor(workers=0).workers >= 1
    with pytest.raises(ConfigError, match=r"executor\.workers=-1 must be at least 1"):
        LocalExecutor(workers=-1)
