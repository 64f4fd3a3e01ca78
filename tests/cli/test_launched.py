"""Processes that were started together, as threads of one: they agree on a directory, and fail together."""

from __future__ import annotations

import datetime
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lungdet.cli import launched as module
from lungdet.cli.launched import (
    agree_on_run_directory,
    all_or_none,
    keep_no_log_file,
    others_may_end,
    wait_for_run_directory,
)
from lungdet.config.launcher import LaunchedProcess
from lungdet.errors import ConfigError, RunError, StoreError

Outcome = dict[int, Any]


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "PATIENCE", datetime.timedelta(seconds=20))
    monkeypatch.setattr(module, "_HEARING_S", 0.1)
    module._store.cache_clear()
    yield
    module._store.cache_clear()


def processes(n: int, *, job: str = "") -> list[LaunchedProcess]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return [LaunchedProcess("torchrun", rank, n, 1, n, "127.0.0.1", port, job=job) for rank in range(n)]


def together(work: Callable[[LaunchedProcess], Any], group: list[LaunchedProcess]) -> Outcome:
    """Rank -> what it returned or raised."""
    outcome: Outcome = {}

    def run(me: LaunchedProcess) -> None:
        try:
            outcome[me.rank] = work(me)
        except (RunError, StoreError, ConfigError) as error:
            outcome[me.rank] = error

    threads = [threading.Thread(target=run, args=(me,)) for me in group]
    for thread in reversed(threads):  # the first process starts last
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcome


def as_given(arguments: list[str]) -> list[str]:
    return arguments


def test_all_take_the_directory_of_the_first_and_only_the_first_keeps_a_log() -> None:
    found = together(lambda me: agree_on_run_directory(["seed=1"], me=me, choose=as_given), processes(3))
    chosen = found[0][-1]
    assert chosen.startswith("hydra.run.dir=${paths.runs}/20")
    assert found[0] == ["seed=1", chosen]
    for rank in (1, 2):
        assert found[rank][:2] == ["seed=1", chosen]
        assert "hydra.output_subdir=null" in found[rank]
        assert "~hydra.job_logging.handlers.file" in found[rank]


def test_a_job_names_the_directory_so_that_its_repetition_finds_it() -> None:
    (alone,) = processes(1, job="slurm-7-0")
    words = agree_on_run_directory([], me=alone, choose=as_given)
    assert words == [
        "hydra.run.dir=${paths.runs}/slurm-7-0_${hydra.runtime.choices.data}_${hydra.runtime.choices.model}"
    ]


def test_the_newest_run_is_looked_for_by_the_first_alone() -> None:
    asked = []

    def choose(arguments: list[str]) -> list[str]:
        asked.append(threading.current_thread())
        return [*arguments, "hydra.run.dir=/runs/newest"]

    found = together(lambda me: agree_on_run_directory(["ckpt_path=last"], me=me, choose=choose), processes(2))
    assert found[0][-1] == found[1][1] == "hydra.run.dir=/runs/newest"
    assert len(asked) == 1


def test_nothing_to_go_on_with_ends_all() -> None:
    def choose(arguments: list[str]) -> list[str]:
        raise RunError("ckpt_path=last: no run")

    found = together(lambda me: agree_on_run_directory(["ckpt_path=last"], me=me, choose=choose), processes(2))
    assert str(found[0]) == "ckpt_path=last: no run"
    assert str(found[1]) == "the first process cannot train: ckpt_path=last: no run"


def test_a_directory_that_was_named_needs_no_agreement_and_a_sweep_is_refused() -> None:
    _, second = processes(2)
    assert agree_on_run_directory(["hydra.run.dir=x"], me=second, choose=as_given)[0] == "hydra.run.dir=x"
    assert agree_on_run_directory(["--cfg", "job"], me=second, choose=as_given) == ["--cfg", "job"]
    with pytest.raises(ConfigError, match="hydra/launcher=submitit_slurm"):
        agree_on_run_directory(["-m", "seed=1,2"], me=second, choose=as_given)


@pytest.mark.parametrize("failing", [0, 2])
def test_what_one_cannot_do_is_told_to_all(failing: int) -> None:
    def work(me: LaunchedProcess) -> str:
        with all_or_none(me, n_processes=3):
            if me.rank == failing:
                raise StoreError("no store here")
        return "trains"

    found = together(work, processes(3))
    assert str(found.pop(failing)) == "no store here"
    expected = f"another process of this training cannot go on, process {failing} of 3: no store here"
    assert {str(error) for error in found.values()} == {expected}


def test_all_go_on_when_all_can() -> None:
    def work(me: LaunchedProcess) -> str:
        with all_or_none(me, n_processes=3):
            pass
        return "trains"

    assert together(work, processes(3)) == dict.fromkeys(range(3), "trains")
    with all_or_none(None, n_processes=1):
        pass


def test_a_run_directory_that_another_node_does_not_see_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")

    def work(me: LaunchedProcess) -> str:
        folder = tmp_path / "elsewhere" if me.rank == 2 else tmp_path
        wait_for_run_directory(me, folder / "config.yaml", seconds=0.5)
        return "sees it"

    found = together(work, processes(3))
    assert (found[0], found[1]) == ("sees it", "sees it")
    assert "process 2 does not see it" in str(found[2])
    wait_for_run_directory(None, tmp_path / "missing")


def test_a_first_process_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", datetime.timedelta(seconds=1))
    _, second = processes(2)
    with pytest.raises(RunError, match=r"process 1: the first process is not reached at 127\.0\.0\.1:"):
        agree_on_run_directory([], me=second, choose=as_given)


def test_errors_that_are_not_about_other_processes_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="gloo is fine") as error, others_may_end():
        raise RuntimeError("gloo is fine, there is no process group")
    assert not isinstance(error.value, RunError)
    with pytest.raises(StoreError), others_may_end():
        raise StoreError("gloo")


def test_the_log_file_is_left_to_the_first_process(tmp_path: Path) -> None:
    root, handler = logging.getLogger(), logging.FileHandler(tmp_path / "log.txt")
    root.addHandler(handler)
    keep_no_log_file()
    assert handler not in root.handlers
    logging.getLogger("lungdet").warning("not for the file")
    assert (tmp_path / "log.txt").read_text() == ""
