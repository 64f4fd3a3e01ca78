"""`lungdet bench`: what is typed, what is refused, the table and the JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from lungdet.bench import catalogue
from lungdet.bench.rows import Row, rows
from lungdet.cli import bench
from lungdet.errors import RunError

Run = Callable[..., str]


def fake_measure(name: str, seen: list[tuple[str, bool]]) -> Callable[..., list[Row]]:
    def measure(*, quick: bool, folder: Path) -> list[Row]:
        assert folder.is_dir()
        seen.append((name, quick))
        return rows({"base": [10.0], f"ours {name}": [25.0]}, section=f"section {name}", unit="u/s", baseline="base")

    return measure


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Benchmarks that take no time; which were run, and whether quickly."""
    calls: list[tuple[str, bool]] = []
    monkeypatch.setattr(catalogue, "load", lambda name: fake_measure(name, calls))
    return calls


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], seen: list[tuple[str, bool]]
) -> Iterator[Run]:
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["bench.py", *words])
        GlobalHydra.instance().clear()
        bench.main()
        return "".join(capfd.readouterr())

    yield call
    GlobalHydra.instance().clear()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ([], []),
        (["crops"], ["what=crops"]),
        (["crops", "--quick"], ["what=crops", "quick=true"]),
        (["--quick", "out=x"], ["quick=true", "out=x"]),
        (["what=loader"], ["what=loader"]),
        (["--cfg", "job"], ["--cfg", "job"]),
    ],
)
def test_words_become_overrides(typed: list[str], meant: list[str]) -> None:
    assert bench.overrides(typed) == meant


def test_one_benchmark_prints_its_table(run: Run, seen: list[tuple[str, bool]], tmp_path: Path) -> None:
    shown = run("crops", "--quick")
    assert seen == [("crops", True)]
    for text in ("section crops", "ours crops", "25 u/s", "2.50 (2.50 to 2.50)", "10 u/s", "itself", "numpy"):
        assert text in shown
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_all_is_every_file_of_the_room(run: Run, seen: list[tuple[str, bool]], tmp_path: Path) -> None:
    run(f"out={tmp_path / 'figures'}")
    assert [name for name, _ in seen] == list(catalogue.benchmarks())
    assert not any(quick for _, quick in seen)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["bench_all.json"]
    record = json.loads((tmp_path / "figures" / "bench_all.json").read_text())
    assert record["what"] == "all"
    assert record["rows"][1]["ratio"] == 2.5
    assert record["machine"]["packages"]["zarr"]


def test_one_that_fails_costs_the_others_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, bool]] = []

    def load(name: str) -> Callable[..., list[Row]]:
        def fail(*, quick: bool, folder: Path) -> list[Row]:
            raise RunError("no such disk")

        return fail if name == "loader" else fake_measure(name, calls)

    monkeypatch.setattr(catalogue, "load", load)
    with pytest.raises(SystemExit, match="2"):
        run(f"out={tmp_path}")
    captured = capfd.readouterr()
    assert "1 benchmark(s) could not be taken.\n  loader: no such disk" in captured.err
    assert "section crops" in captured.out
    record = json.loads((tmp_path / "bench_all.json").read_text())
    assert record["failed"] == {"loader": "no such disk"}
    assert set(record["seconds"]) == set(catalogue.benchmarks())
    assert len(record["rows"]) == 2 * len(calls) == 2 * (len(catalogue.benchmarks()) - 1)


def test_peak_memory_has_a_column_where_it_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    lines = rows({"base": [1.0], "ours": [2.0]}, section="with", unit="u", baseline="base", peaks_mb={"ours": 123.4})
    lines += rows({"base": [1.0]}, section="without", unit="u", baseline="base")
    about = {"packages": {}, "processor": "p", "cores": 2, "load_average": [0, 0, 0], "python": "3"}
    bench._show(lines, {"machine": about, "seconds": {"with": 1.0}})
    first, second = capsys.readouterr().out.split("without")
    assert "peak MB" in first
    assert "123" in first
    assert "peak MB" not in second


def test_an_unknown_one_gets_the_near_word(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("corps")
    message = capfd.readouterr().err
    assert f"'corps' is not a benchmark; there are all, {', '.join(catalogue.benchmarks())}" in message
    assert "did you mean crops?" in message


def test_a_far_word_gets_the_list(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("xyz")
    assert "did you mean" not in capfd.readouterr().err
