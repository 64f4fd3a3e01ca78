"""Addresses, versions and folders without a cluster: a client answers what its workers would."""

from __future__ import annotations

import logging
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from lungdet.errors import ClusterError, ConfigError
from lungdet.executors import dask_connection
from lungdet.executors.dask_connection import GONE, _address, _compare, _quiet, _reach, connected, n_workers, probed

HERE = {"host": "here", "lungdet": "1 (aaaaaaaa)", "torch": "2.8", "processor": "x"}


class Answers:
    """A client whose workers answer what is written down; an exception answers for a worker that raised it."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def run(self, question: Any, *, on_error: str) -> dict[str, Any]:
        assert on_error == "return"
        return {name: answer(question) if callable(answer) else answer for name, answer in self.answers.items()}

    def nthreads(self) -> dict[str, int]:
        if "broken" in self.answers:
            raise self.answers["broken"]
        return dict.fromkeys(self.answers, 1)


def client(**answers: Any) -> Any:
    return Answers(**answers)


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_connection, "describe", lambda: HERE)


def test_equal_workers_are_taken_without_a_word(described: None, caplog: pytest.LogCaptureFixture) -> None:
    _compare(client(a=HERE, b={**HERE, "host": "there"}))
    assert caplog.text == ""


def test_another_lungdet_or_none_is_refused(described: None) -> None:
    other = {**HERE, "host": "there", "lungdet": "1 (bbbbbbbb)"}
    with pytest.raises(
        ClusterError,
        match=r"^executor: b cannot run lungdet \(ImportError: none\); there has lungdet 1 \(bbbbbbbb\), this process "
        r"1 \(aaaaaaaa\)\. Install the same lungdet",
    ):
        _compare(client(a=other, b=ImportError("none"), c=HERE, d=other))


def test_at_most_four_workers_are_named(described: None) -> None:
    wrong = {f"w{n}": ImportError("none") for n in range(6)}
    with pytest.raises(ClusterError) as refused:
        _compare(client(**wrong))
    assert [f"w{n} cannot" in str(refused.value) for n in range(6)] == [True] * 4 + [False] * 2


def test_other_packages_are_told_once(described: None, caplog: pytest.LogCaptureFixture) -> None:
    there = {name: value for name, value in HERE.items() if name != "processor"} | {"host": "there", "torch": "2.9"}
    _compare(client(a=there, b=there))
    assert caplog.messages == [
        "results may differ in the last digits, the workers have other versions: processor: none on there, x here; "
        "torch: 2.9 on there, 2.8 here"
    ]


def test_workers_that_leave_or_have_not_come_yet(described: None, caplog: pytest.LogCaptureFixture) -> None:
    """Who left answers with an error of the network, which says nothing of lungdet."""
    _compare(client(a=OSError("gone")))
    assert caplog.messages == ["the cluster has no workers yet; the work waits for the first"]


def test_a_folder_is_probed_while_the_work_goes_on(tmp_path: Path) -> None:
    with probed(client(a=lambda question: question()), tmp_path) as probe:
        assert probe is not None
        assert Path(probe.path).read_text() == probe.token
        assert probe.problem() is None
    assert not list(tmp_path.iterdir())
    with probed(client(), None) as nothing:
        assert nothing is None


def test_a_folder_that_one_does_not_see_is_refused_and_the_probe_is_gone(tmp_path: Path) -> None:
    asked = client(a=None, b="b does not see /x", c="b does not see /x", d=OSError("left"))
    with (
        pytest.raises(ClusterError, match=r"^executor: b does not see /x\. Scans are read and .*under the same path"),
        probed(asked, tmp_path),
    ):
        pass
    assert not list(tmp_path.iterdir())


def test_what_goes_wrong_in_the_block_leaves_no_probe(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ours"), probed(client(), tmp_path):
        raise RuntimeError("ours")
    assert not list(tmp_path.iterdir())


def test_addresses_are_taken_as_they_are_and_files_are_read(tmp_path: Path) -> None:
    assert _address("tcp://host:8786") == "tcp://host:8786"
    file = tmp_path / "scheduler.json"
    file.write_text('{"address": "tcp://host:1", "id": "x"}')
    assert _address(str(file)) == "tcp://host:1"


@pytest.mark.parametrize("text", [None, "", "{}", "[]", '"tcp://host:1"', "\xff"])
def test_files_that_are_of_no_scheduler(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    if text is not None:
        file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"executor\.scheduler: .*scheduler\.json is no file of a Dask scheduler"):
        _address(str(file))


def test_a_scheduler_is_reached_when_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        _reach(address, timeout_s=1)
    with pytest.raises(
        ClusterError, match=rf"nobody answers at {address} \(.*\); start a scheduler \(dask scheduler\)"
    ):
        _reach(address, timeout_s=1)


def test_dask_says_nothing_while_we_are_connected_and_its_loggers_are_put_back() -> None:
    logger = logging.getLogger("distributed.client")
    before = logger.level
    with _quiet():
        assert logger.level == logging.CRITICAL
    assert logger.level == before
    with pytest.raises(RuntimeError, match="ours"), _quiet():
        raise RuntimeError("ours")
    assert logger.level == before


def test_workers_are_counted_until_the_scheduler_is_gone() -> None:
    assert n_workers(client(a=1, b=2)) == 2
    assert n_workers(client()) == 0
    for error in (OSError(), TimeoutError(), RuntimeError("closed")):
        with pytest.raises(ClusterError) as gone:
            n_workers(client(broken=error))
        assert str(gone.value) == GONE


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(
            ConfigError, match=r"executor: dask needs the package 'distributed', .* pip install 'lungdet\[dask"
        ),
        connected("tcp://host:1", workers=1, timeout_s=1),
    ):
        pass
