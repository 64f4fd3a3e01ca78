"""The simulated collection is a real one, and opening it costs a fixed number of file operations a scan: no more."""

from __future__ import annotations

import os
import runpy
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungdet.bench.growth import Growth, Step, exponents, make_collection, walk
from lungdet.io.luna16 import read_luna16
from lungdet.store.reader import CtStore

SCRIPT = Path(__file__).parents[2] / "scripts" / "simulate_growth.py"

_counted: list[Counter[str]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    # A hook cannot be taken away again; it counts only while somebody listens.
    if _counted and event in ("open", "os.listdir", "os.scandir"):
        _counted[-1][event] += 1


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], object]], Counter[str]]]:
    """Opens, listings and stat calls while something is done."""
    sys.addaudithook(_hook)

    def counting(stat: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            if _counted:
                _counted[-1]["stat"] += 1
            return stat(*arguments, **options)

        return called

    monkeypatch.setattr(os, "stat", counting(os.stat))
    monkeypatch.setattr(os, "fstat", counting(os.fstat))

    def run(work: Callable[[], object]) -> Counter[str]:
        _counted.append(Counter())
        work()
        return _counted.pop()

    yield run
    _counted.clear()


def test_it_reads_as_any_collection(tmp_path: Path) -> None:
    make_collection(tmp_path, n_scans=12, rows_per_scan=10)
    collection, store = read_luna16(tmp_path), CtStore(tmp_path / "store.zarr")
    assert list(collection.scan_paths) == list(store.series_uids)
    assert collection.candidates is not None
    assert len(collection.candidates) == 120
    first, last = store.volume(store.series_uids[0]), store.volume(store.series_uids[-1])
    assert np.array_equal(first, np.arange(8).reshape(2, 2, 2))
    assert np.array_equal(first, last)
    assert len(set(store.pixel_hashes(store.series_uids).values())) == 12, "every scan has a hash of its own"
    center = store.geometry(store.series_uids[3]).index_to_world([1, 1, 1])
    assert store.crop(store.series_uids[3], center, (2, 2, 2))[1].all()


def test_a_collection_is_made_once(tmp_path: Path) -> None:
    make_collection(tmp_path, n_scans=10, rows_per_scan=10)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    make_collection(tmp_path, n_scans=10, rows_per_scan=10)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_file_operations_are_linear_in_the_number_of_scans(
    tmp_path: Path, count: Callable[[Callable[[], object]], Counter[str]]
) -> None:
    for n in (20, 40, 80):
        make_collection(tmp_path / str(n), n_scans=n, rows_per_scan=20)
    walk(tmp_path / "20")  # what is imported on first use
    counts = [count(lambda n=n: walk(tmp_path / str(n))) for n in (20, 40, 80)]  # type: ignore[misc]
    for event in ("open", "os.listdir", "os.scandir", "stat"):
        few, some, many = (c[event] for c in counts)
        assert (many - some) <= 2 * (some - few), f"{event}: {few}, {some}, {many} for 20, 40, 80 scans"
    # Its metadata; of its array the metadata and the shard, which is mapped.
    assert counts[2]["open"] - counts[1]["open"] <= 3 * 40
    assert counts[2]["stat"] - counts[1]["stat"] <= 8 * 40
    assert counts[2]["os.listdir"] == counts[1]["os.listdir"], "folders are listed as a whole, not once a scan"


def test_every_step_is_told(tmp_path: Path) -> None:
    make_collection(tmp_path, n_scans=30, rows_per_scan=20)
    growth = walk(tmp_path)
    assert (growth.n_scans, growth.n_candidates) == (30, 600)
    assert len({step.name for step in growth.steps}) == len(growth.steps)
    assert all(step.peak_mb >= growth.imports_mb for step in growth.steps)


def test_exponents() -> None:
    def growth(n: int) -> Growth:
        steps = (Step("linear", 1, n / 1000, 1), Step("square", 1, n**2 / 1e6, 1), Step("constant", 1, 2.0, 1))
        return Growth(n, n, 1.0, steps)

    found = exponents([growth(n) for n in (1000, 3000, 10_000)])
    assert found == pytest.approx({"linear": 1.0, "square": 2.0, "constant": 0.0}, abs=1e-9)


@pytest.mark.slow
def test_the_script_prints_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--scans", "20", "40", "--rows-per-scan", "20", "--folder", str(tmp_path), "--json"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments, str(tmp_path / "growth.json")])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    shown = capsys.readouterr().out
    assert "| processor seconds | 20 scans, 400 rows | 40 scans, 800 rows | exponent |" in shown
    assert "| open the store |" in shown
    assert (tmp_path / "growth.json").is_file()
    assert not (tmp_path / "20x20").exists()
