"""A collection into a store: any number of processes, interrupted, damaged, with other settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lungdet.errors import StoreError
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

UIDS = ["1.2.1", "1.2.2", "1.2.3"]


def test_every_scan_is_stored_once(scans: dict[str, Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    first = preprocess(scans, tmp_path / "s", StoreSpec(), progress=lambda *given: seen.append(given))
    assert first.stored == UIDS
    assert not first.failed
    assert seen == [(n + 1, 3, uid) for n, uid in enumerate(UIDS)]
    second = preprocess(scans, tmp_path / "s", StoreSpec())
    assert second.skipped == UIDS
    assert not second.stored


@pytest.mark.slow
def test_two_processes_store_the_same_bytes(scans: dict[str, Path], tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "one", StoreSpec(), workers=1)
    report = preprocess(scans, tmp_path / "two", StoreSpec(), workers=2)
    assert sorted(report.stored) == UIDS
    files = [p.relative_to(tmp_path / "one") for p in sorted((tmp_path / "one").rglob("*")) if p.is_file()]
    assert len(files) > 10
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_bad_scan_is_reported_and_the_others_stored(workers: int, scans: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "bad.mhd").write_text("not a header")
    report = preprocess({**scans, "bad": tmp_path / "bad.mhd"}, tmp_path / "s", StoreSpec(), workers=workers)
    assert sorted(report.stored) == UIDS
    assert list(report.failed) == ["bad"]
    assert "bad.mhd" in report.failed["bad"]
    assert CtStore(tmp_path / "s").series_uids == tuple(UIDS)


def test_other_settings_are_refused_unless_overwritten(scans: dict[str, Path], tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "s", StoreSpec())
    with pytest.raises(StoreError, match=r"spacing_mm.*Rebuild it: type this"):
        preprocess(scans, tmp_path / "s", StoreSpec(spacing_mm=(2, 2, 2)), command="type this")
    assert CtStore(tmp_path / "s").geometry("1.2.3").spacing_zyx_mm == (1.0, 1.0, 1.0)
    preprocess(scans, tmp_path / "s", StoreSpec(spacing_mm=(2, 2, 2)), overwrite=True)
    assert CtStore(tmp_path / "s").geometry("1.2.3").spacing_zyx_mm == (2.0, 2.0, 2.0)


def test_overwrite_does_not_delete_a_folder_that_is_no_store(scans: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(StoreError, match="is not a lungdet store"):
        preprocess(scans, tmp_path, StoreSpec(), overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


KILLED = """
import sys, time
from pathlib import Path
from lungdet.store import writer
from lungdet.store.preprocess import preprocess
from lungdet.store.schema import StoreSpec

original = writer._write_array
def slow(group, name, values, **rest):
    original(group, name, values, **rest)
    if name == "lung_mask" and "1.2.2" in str(group.store_path):
        Path(sys.argv[2], "halfway").touch()
        time.sleep(600)
writer._write_array = slow
folder = Path(sys.argv[1])
preprocess({p.stem: p for p in sorted(folder.glob("*.mhd"))}, Path(sys.argv[2], "s"), StoreSpec())
"""


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_scan_and_the_next_finishes(scans: dict[str, Path], tmp_path: Path) -> None:
    folder = next(iter(scans.values())).parent
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder), str(tmp_path)])
    for _ in range(600):
        if (tmp_path / "halfway").exists():
            break
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert CtStore(tmp_path / "s").series_uids == ("1.2.1",)
    assert list((tmp_path / "s" / "scans").glob(".partial-*"))
    report = preprocess(scans, tmp_path / "s", StoreSpec())
    assert report.skipped == ["1.2.1"]
    assert report.stored == ["1.2.2", "1.2.3"]
    assert not list((tmp_path / "s" / "scans").glob(".partial-*"))
    whole = preprocess(scans, tmp_path / "whole", StoreSpec())
    assert not whole.failed
    for uid in UIDS:
        assert np.array_equal(CtStore(tmp_path / "s").volume(uid), CtStore(tmp_path / "whole").volume(uid))
