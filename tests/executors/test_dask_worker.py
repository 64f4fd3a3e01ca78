"""What a worker tells of itself and how it takes one job, in this process; `test_dask_cluster` asks real ones."""

from __future__ import annotations

import importlib.metadata
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import lungdet
from lungdet.executors import dask_worker
from lungdet.executors.dask_worker import Probe, describe, do_job, source_hash
from lungdet.executors.outcome import Outcome


@pytest.fixture
def as_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process answers as a worker of two threads."""
    import distributed

    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(state=SimpleNamespace(nthreads=2)))
    monkeypatch.setattr(dask_worker, "attempt", attempted)


def attempted(work: Callable[..., str], name: str, arguments: tuple[str, ...], *, threads: int) -> Outcome[str]:
    """Instead of setting the threads of this process."""
    return Outcome(name, f"{work(name, *arguments)} on {threads}")


def joined(name: str, other: str) -> str:
    return f"{name}+{other}"


def test_a_job_has_all_threads_of_its_worker(as_worker: None) -> None:
    assert do_job(joined, "a", ("b",), None) == Outcome("a", "a+b on 2")


def test_a_worker_that_came_late_looks_for_the_folder_too(as_worker: None, tmp_path: Path) -> None:
    probe = Probe(str(tmp_path / "gone" / "probe"), "token")
    failure = (
        f"{socket.gethostname()} does not see {tmp_path / 'gone'}; cluster and this process need the same file system"
    )
    assert do_job(joined, "a", ("b",), probe) == Outcome("a", None, failure)
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "probe").write_text("token")
    assert do_job(joined, "a", ("b",), probe).value == "a+b on 2"


def test_threads_of_a_worker_take_one_job_after_the_other(as_worker: None) -> None:
    running: list[int] = []
    most: list[int] = []

    def work(name: str) -> str:
        running.append(1)
        time.sleep(0.01)
        most.append(len(running))
        running.pop()
        return name

    threads = [threading.Thread(target=do_job, args=(work, str(n), (), None)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_a_folder_that_may_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked of the system, since who runs this may write anywhere."""
    probe = Probe(str(tmp_path / "probe"), "token")
    Path(probe.path).write_text("token")
    monkeypatch.setattr("os.access", lambda folder, how: False)
    assert probe.problem() == f"{socket.gethostname()} may not write to {tmp_path}"


def test_what_results_depend_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = describe()
    assert told["host"] == socket.gethostname()
    assert told["lungdet"] == f"{lungdet.__version__} ({source_hash()})"
    assert told["torch"] == importlib.metadata.version("torch")
    assert {"python", "processor"} <= set(told)
    assert all(told.values())


def test_packages_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_worker, "PACKAGES", ("torch", "no-such-package-of-anyone"))
    assert set(describe()) == {"host", "lungdet", "python", "processor", "torch"}


def test_one_changed_line_or_name_is_another_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("__init__.py", "a/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "notes.txt").write_text("not a module")
    monkeypatch.setattr(lungdet, "__file__", str(tmp_path / "__init__.py"))
    first = source_hash()
    assert len(first) == 8
    (tmp_path / "notes.txt").write_text("changed")
    assert source_hash() == first
    (tmp_path / "a" / "b.py").write_text("x = 2\n")
    assert source_hash() != first
    (tmp_path / "a" / "b.py").write_text("x = 1\n")
    assert source_hash() == first
    (tmp_path / "a" / "b.py").rename(tmp_path / "a" / "c.py")
    assert source_hash() != first
