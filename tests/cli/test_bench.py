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
    for text in ("section crops", "ours crops", "25 u/s", "2.50 (2.50 to 2.50)", "baseline", "numpy"):
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


def test_an_unknown_one_gets_the_near_word(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("corps")
    message = capfd.readouterr().err
    assert "'corps' is not a benchmark; there are all, crops, explain, loader, preprocess" in message
    assert "did you mean crops?" in message


def test_a_far_word_gets_the_list(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("xyz")
    assert "did you mean" not in capfd.readouterr().err
