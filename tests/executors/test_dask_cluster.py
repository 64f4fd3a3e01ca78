"""Jobs on a real cluster of two processes: outcomes by name, killed workers, interruptions, folders nobody shares."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.executors import jobs
from tests.executors.conftest import small_cluster

from lungdet.errors import ClusterError, ConfigError
from lungdet.executors import dask_cluster, dask_connection, dask_worker
from lungdet.executors.dask_cluster import DIED, DaskExecutor
from lungdet.executors.dask_worker import Probe, describe
from lungdet.executors.outcome import Outcome
from lungdet.executors.prepared import Prepared


def test_every_job_is_answered_by_name(scheduler: str, tmp_path: Path) -> None:
    asked = {"a": (2,), "refused": (0,), "odd": (0,), "b": (3,)}
    with DaskExecutor(scheduler) as executor:
        outcomes = {outcome.name: outcome for outcome in executor.run(jobs.square, asked, shared=tmp_path)}
        assert list(executor.run(jobs.square, {})) == []
    assert outcomes == {
        "a": Outcome("a", 4),
        "b": Outcome("b", 9),
        "refused": Outcome("refused", None, "a: wrong\nb: wrong"),
        "odd": Outcome("odd", None, "ValueError: never seen before"),
    }
    assert not list(tmp_path.iterdir()), "the probe is gone"


def test_both_workers_have_work_and_keep_what_they_made(scheduler: str) -> None:
    asked = {str(n): (10,) for n in range(12)}
    with DaskExecutor(scheduler) as executor:
        work: Prepared[tuple[int, int]] = Prepared(jobs.make_counter, {"first": 1}, "ask")
        answers = [outcome.value for outcome in executor.run(work, asked)]
        by_process: dict[int, list[int]] = {}
        for answer in answers:
            assert answer is not None
            by_process.setdefault(answer[0], []).append(answer[1])
        assert len(by_process) == 2
        for counts in by_process.values():
            assert counts == [1 + 10 * n for n in range(1, len(counts) + 1)], "made once, asked again and again"
        refused: Prepared[int] = Prepared(jobs.make_counter, {"first": -1}, "ask")
        assert [o.failure for o in executor.run(refused, {"x": (1,)})] == ["first: too small"]


def test_one_thread_a_job(scheduler: str) -> None:
    with DaskExecutor(scheduler) as executor:
        assert [outcome.value for outcome in executor.run(jobs.threads, {"a": ()})] == [(1, 1)]


@pytest.mark.slow
def test_a_killed_worker_costs_another_try_of_its_job_and_nothing_else(scheduler: str, tmp_path: Path) -> None:
    names = ["a", "b", "killed", "c", "d", "e", "f", "g"]
    with DaskExecutor(scheduler, patience_s=120) as executor:
        outcomes = list(executor.run(jobs.die_once, dict.fromkeys(names, (tmp_path,)), shared=tmp_path))
    assert sorted(outcome.name for outcome in outcomes) == sorted(names), "each exactly once"
    assert all(outcome.value == outcome.name for outcome in outcomes)
    tries = {name: (tmp_path / f"{name}.begun").stat().st_size for name in names}
    assert tries == {**dict.fromkeys(names, 1), "killed": 2}


@pytest.mark.slow
def test_a_job_that_kills_every_worker_is_given_up(scheduler: str, tmp_path: Path) -> None:
    names = ["a", "always", "b", "c"]
    with DaskExecutor(scheduler, patience_s=120) as executor:
        outcomes = {o.name: o for o in executor.run(jobs.die_once, dict.fromkeys(names, (tmp_path,)))}
    assert outcomes["always"] == Outcome("always", None, DIED.format(n=4))
    assert (tmp_path / "always.begun").stat().st_size == 8, "four tries beside others, four alone"
    assert [outcomes[name] for name in "abc"] == [Outcome(name, name) for name in "abc"]


@pytest.mark.slow
def test_jobs_that_wait_where_another_kills_the_worker_are_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while workers start again: the count is old, one worker has the jobs of four, and they share its deaths."""
    monkeypatch.setattr(dask_cluster, "n_workers", lambda client: 4)
    names = ["always", "a", "b", "c", "d"]
    with small_cluster(n_workers=1) as cluster, DaskExecutor(cluster.scheduler_address, patience_s=120) as executor:
        outcomes = {o.name: o for o in executor.run(jobs.die_once, dict.fromkeys(names, (tmp_path,)))}
    assert [name for name, outcome in outcomes.items() if outcome.failure is not None] == ["always"]


def test_a_cluster_without_workers_is_told_of_once(
    scheduler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(dask_cluster, "n_workers", lambda client: 0)
    monkeypatch.setattr(dask_cluster, "_LOOK_S", 0.02)
    monkeypatch.setattr(dask_cluster, "_TOLD_S", 0.1)
    with DaskExecutor(scheduler) as executor:
        assert len(list(executor.run(jobs.begin_and_wait, {"a": (tmp_path,)}))) == 1
    assert caplog.text.count("the cluster has had no workers for") == 1


@pytest.mark.slow
def test_a_cluster_whose_workers_are_gone_ends_the_work(tmp_path: Path) -> None:
    """As Dask leaves it that gave up to start them again; without an end, a night's work would wait for ever."""
    with small_cluster(n_workers=1) as cluster, DaskExecutor(cluster.scheduler_address, patience_s=2) as executor:
        outcomes = executor.run(jobs.begin_and_wait, {str(n): (tmp_path,) for n in range(60)})
        assert next(outcomes).failure is None
        cluster.scale(0)
        with pytest.raises(ClusterError, match=r"no workers for \d+ s .*what is finished is kept: start workers"):
            list(outcomes)


@pytest.mark.slow
def test_an_interruption_lets_begun_jobs_finish_and_begins_no_other(scheduler: str, tmp_path: Path) -> None:
    with DaskExecutor(scheduler) as executor:
        outcomes = executor.run(jobs.begin_and_wait, {str(n): (tmp_path,) for n in range(20)})
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
    time.sleep(1.5)
    begun, done = ({p.stem for p in tmp_path.glob(f"*.{what}")} for what in ("begun", "done"))
    assert begun == done
    assert 1 <= len(begun) <= 4


def test_nobody_at_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(ClusterError, match=rf"executor.scheduler: nobody answers at {address}"), DaskExecutor(address):
        pass
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("address", ["host", "http://host:1", "tcp:/host:8786"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ConfigError, match=r"executor\.scheduler: .*give tcp://<host>:<port>"), DaskExecutor(address):
        pass


def test_the_file_of_a_scheduler(scheduler: str, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(f'{{"address": "{scheduler}"}}')
    with DaskExecutor(str(file)) as executor:
        assert [outcome.value for outcome in executor.run(jobs.square, {"a": (5,)})] == [25]
    with pytest.raises(ConfigError, match="no file of a Dask scheduler"), DaskExecutor(str(tmp_path / "none.json")):
        pass


def test_a_folder_that_workers_do_not_see(scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The probe of another folder is what a worker with another file system sees: nothing.
    monkeypatch.setattr(Probe, "__reduce__", lambda self: (Probe, ("/nowhere/probe", self.token)), raising=False)
    with DaskExecutor(scheduler) as executor, pytest.raises(ClusterError, match=r"does not see /nowhere.*mount the"):
        list(executor.run(jobs.square, {"a": (1,)}, shared=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ClusterError, match=r"executor: .*gone cannot be written to \(No such file or directory\)"),
        dask_connection.probed(None, tmp_path / "gone"),  # type: ignore[arg-type]
    ):
        pass


def test_probe_tells_what_is_wrong(tmp_path: Path) -> None:
    probe = Probe(str(tmp_path / "probe"), "token")
    assert "does not see" in str(probe.problem())
    (tmp_path / "probe").write_text("another's")
    assert "does not see" in str(probe.problem())
    (tmp_path / "probe").write_text("token")
    assert probe.problem() is None


def test_other_versions_are_refused_or_told(
    scheduler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours = describe()
    monkeypatch.setattr(dask_worker, "_version", lambda package: "0.1")
    with DaskExecutor(scheduler):
        assert f"torch: {ours['torch']} on {ours['host']}, 0.1 here" in caplog.text
    monkeypatch.setattr(dask_worker, "source_hash", lambda: "abc")
    with pytest.raises(ClusterError, match=r"has lungdet .*, this process .* \(abc\)"), DaskExecutor(scheduler):
        pass


def test_numbers_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"executor\.workers=0") as refused:
        DaskExecutor(workers=0, timeout_s=0, patience_s=0)
    assert len(refused.value.problems) == 3


@pytest.mark.slow
def test_a_scheduler_that_goes_away_ends_the_work(tmp_path: Path) -> None:
    with (
        small_cluster(n_workers=1) as cluster,
        DaskExecutor(cluster.scheduler_address) as executor,
    ):
        outcomes = executor.run(jobs.begin_and_wait, {str(n): (tmp_path,) for n in range(60)})
        assert next(outcomes).failure is None
        cluster.close()
        with pytest.raises(ClusterError, match="the scheduler went away; what is finished is kept"):
            list(outcomes)


@pytest.mark.slow
def test_workers_without_lungdet_are_refused() -> None:
    with small_cluster(n_workers=0) as cluster:
        program = (
            "import sys; sys.modules['lungdet'] = None; from distributed.cli.dask_worker import main; "
            f"main(['{cluster.scheduler_address}', '--no-nanny', '--no-dashboard'])"
        )
        worker = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
        try:
            cluster.wait_for_workers(1, timeout=60)
            with (
                pytest.raises(ClusterError, match=r"cannot run lungdet .*Install the same lungdet"),
                DaskExecutor(cluster.scheduler_address),
            ):
                pass
        finally:
            worker.terminate()
            worker.wait()
