"""Work in processes: failures are told by name, a killed process costs one job, a killed parent leaves no orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from lungdet.store.processes import DIED, in_processes

WORK = """
import os, pathlib, signal, time
class Stays(Exception):
    # It cannot be unpickled: two arguments, one message.
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")
def work(name, folder=None):
    if folder is not None:
        pathlib.Path(folder, str(os.getpid())).touch()
        time.sleep(600)
    if name.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "odd":
        raise ValueError("never seen before")
    if name == "stays":
        raise Stays(1, 2)
    time.sleep(0.05)
    return "it failed" if name == "failing" else None
"""

PARENT = """
import sys
from lungdet.store.processes import in_processes
sys.path.insert(0, sys.argv[1])
import work_in_tests
if __name__ == "__main__":
    list(in_processes(work_in_tests.work, {"a": (sys.argv[2],), "b": (sys.argv[2],)}, workers=2))
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that spawned processes can import too."""
    (tmp_path / "work_in_tests.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "work_in_tests", raising=False)
    import work_in_tests  # type: ignore[import-not-found]

    return work_in_tests  # type: ignore[no-any-return]


def test_every_job_is_answered_by_name(work: ModuleType) -> None:
    names = ["a", "failing", "b", "odd", "c"]
    outcomes = dict(in_processes(work.work, dict.fromkeys(names, ()), workers=2))
    assert outcomes == {"a": None, "b": None, "c": None, "failing": "it failed", "odd": "ValueError: never seen before"}


def test_an_exception_that_cannot_be_sent_is_told_and_no_process_is_said_to_have_died(work: ModuleType) -> None:
    assert dict(in_processes(work.work, {"stays": (), "a": ()}, workers=2)) == {"stays": "Stays: 1 and 2", "a": None}


@pytest.mark.slow
def test_a_process_that_dies_costs_only_its_own_job(work: ModuleType) -> None:
    names = ["a", "b", "killed 1", "c", "d", "killed 2", "e"]
    outcomes = list(in_processes(work.work, dict.fromkeys(names, ()), workers=2))
    assert sorted(name for name, _ in outcomes) == sorted(names), "each exactly once"
    assert {name for name, failure in outcomes if failure == DIED} == {"killed 1", "killed 2"}
    assert {failure for name, failure in outcomes if not name.startswith("killed")} == {None}


def test_no_jobs_need_no_process(work: ModuleType) -> None:
    assert list(in_processes(work.work, {}, workers=2)) == []


@pytest.mark.slow
def test_processes_end_with_a_parent_that_was_killed(work: ModuleType, tmp_path: Path) -> None:
    script, seen = tmp_path / "parent.py", tmp_path / "seen"
    script.write_text(PARENT)
    seen.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path), str(seen)])
    _until(lambda: len(list(seen.iterdir())) == 2, "both processes are at work")
    children = [int(p.name) for p in seen.iterdir()]
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    _until(lambda: not any(_alive(child) for child in children), "both processes have ended")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that has ended may wait for the system to collect it.
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def _until(condition: object, what: str) -> None:
    assert callable(condition)
    for _ in range(400):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"not in 40 s: {what}")
