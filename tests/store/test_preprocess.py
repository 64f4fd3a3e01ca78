"""A collection into a store: any number of processes, interrupted, damaged, with other settings."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
import zarr
from tests.store.conftest import ct_like, write_mhd
from tests.store.interruption import killed_at

from lungdet.errors import StoreError
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan, read_scan
from lungdet.store import writer
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec
from lungdet.store.series_list import written_series

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

original = writer.write_array
def slow(folder, name, values, **rest):
    original(folder, name, values, **rest)
    if name == "lung_mask" and "1.2.2" in str(folder):
        Path(sys.argv[2], "halfway").touch()
        time.sleep(600)
writer.write_array = slow
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


@pytest.mark.slow
def test_killed_with_two_processes_every_scan_is_whole_or_absent(scans: dict[str, Path], tmp_path: Path) -> None:
    folder = next(iter(scans.values())).parent
    script = tmp_path / "killed.py"
    script.write_text(KILLED_IN_PARALLEL)
    process = subprocess.Popen([sys.executable, str(script), str(folder), str(tmp_path)])
    for _ in range(600):
        if (tmp_path / "s" / "scans").is_dir() and list((tmp_path / "s" / "scans").glob("[0-9]*")):
            break
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = CtStore(tmp_path / "s")
    for uid in before.series_uids:
        assert before.volume(uid).size
        assert before.lung_mask(uid).shape == before.volume(uid).shape
    report = preprocess(dict.fromkeys(MANY, scans["1.2.1"]), tmp_path / "s", StoreSpec())
    assert not report.failed
    assert set(before.series_uids) <= set(report.skipped)
    assert CtStore(tmp_path / "s").series_uids == tuple(sorted(MANY))


MANY = [f"7.{n}" for n in range(12)]

KILLED_IN_PARALLEL = """
import sys
from pathlib import Path
from lungdet.store.preprocess import preprocess
from lungdet.store.schema import StoreSpec
if __name__ == "__main__":
    scan = Path(sys.argv[1], "1.2.1.mhd")
    preprocess({f"7.{n}": scan for n in range(12)}, Path(sys.argv[2], "s"), StoreSpec(), workers=2)
"""


def test_one_run_at_a_time(scans: dict[str, Path], tmp_path: Path) -> None:
    def second(done: int, total: int, series_uid: str) -> None:
        with pytest.raises(StoreError, match="another run is writing to this store"):
            preprocess(scans, tmp_path / "s", StoreSpec())

    assert preprocess(scans, tmp_path / "s", StoreSpec(), progress=second).stored == UIDS
    assert preprocess(scans, tmp_path / "s", StoreSpec()).skipped == UIDS, "the lock went with the run"


def test_a_store_that_cannot_be_made_is_told(scans: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/store: cannot be made \(.*\); choose another data.store_path"):
        preprocess(scans, tmp_path / "file" / "store", StoreSpec())


def test_a_file_system_without_locks_is_used_without(
    scans: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refused)
    assert preprocess(scans, tmp_path / "s", StoreSpec()).stored == UIDS


def test_a_scan_whose_file_changed_is_stored_again(scans: dict[str, Path], tmp_path: Path) -> None:
    paths = {uid: tmp_path / path.name for uid, path in scans.items()}
    for path in scans.values():
        for file in (path, path.with_suffix(".raw")):
            shutil.copy(file, tmp_path / file.name)
    preprocess(paths, tmp_path / "s", StoreSpec())
    shutil.copy(scans["1.2.2"].with_suffix(".raw"), tmp_path / "1.2.1.raw")
    header = scans["1.2.2"].read_text().replace("1.2.2.raw", "1.2.1.raw")
    paths["1.2.1"].write_text(header)
    again = preprocess(paths, tmp_path / "s", StoreSpec())
    assert again.stored == ["1.2.1"]
    store = CtStore(tmp_path / "s")
    assert store.content_hash("1.2.1") == store.content_hash("1.2.2")
    paths["1.2.3"].unlink()
    assert preprocess(paths, tmp_path / "s", StoreSpec()).skipped == UIDS, "a source that is gone is no reason"


def test_a_damaged_record_is_stored_again(scans: dict[str, Path], tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "s", StoreSpec())
    (tmp_path / "s" / "scans" / "1.2.2" / "zarr.json").write_text("")
    assert preprocess(scans, tmp_path / "s", StoreSpec()).stored == ["1.2.2"]


def test_an_array_that_a_power_cut_left_short_is_stored_again(scans: dict[str, Path], tmp_path: Path) -> None:
    preprocess(scans, tmp_path / "s", StoreSpec())
    shard = tmp_path / "s" / "scans" / "1.2.2" / "lung_mask" / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(StoreError, match="its index is damaged; preprocess this scan again"):
        CtStore(tmp_path / "s").lung_mask("1.2.2")
    assert preprocess(scans, tmp_path / "s", StoreSpec()).stored == ["1.2.2"]
    assert CtStore(tmp_path / "s").lung_mask("1.2.2").shape == CtStore(tmp_path / "s").volume("1.2.2").shape


def test_given_masks_are_stored_with_their_codes(scans: dict[str, Path], tmp_path: Path) -> None:
    image = sitk.ReadImage(str(scans["1.2.1"]))
    codes = np.zeros(image.GetSize()[::-1], np.uint8)
    codes[:, :, :30], codes[:, :, 36:] = 3, 4
    mask = sitk.GetImageFromArray(codes)
    mask.CopyInformation(image)
    sitk.WriteImage(mask, str(tmp_path / "mask.mhd"), useCompression=True)
    masks = {"1.2.1": tmp_path / "mask.mhd"}
    native = StoreSpec(spacing_mm="native")
    preprocess(scans, tmp_path / "s", native)
    report = preprocess(scans, tmp_path / "s", native, mask_paths=masks)
    assert report.stored == ["1.2.1"], "a mask that is new changes the scan"
    assert np.array_equal(CtStore(tmp_path / "s").lung_mask("1.2.1"), codes)
    assert preprocess(scans, tmp_path / "s", native, mask_paths=masks).skipped == UIDS
    assert preprocess(scans, tmp_path / "s", native, mask_paths={"1.2.2": tmp_path / "mask.mhd"}).failed.keys() == {
        "1.2.2"
    }


def test_a_store_keeps_its_codec(scans: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some = {uid: scans[uid] for uid in UIDS[:1]}
    preprocess(some, tmp_path / "s", StoreSpec(codec="none"))
    preprocess(scans, tmp_path / "s", StoreSpec(codec="lz4"))
    assert "goes on with its codec none, not lz4" in caplog.text
    for uid in UIDS:
        array = zarr.open_array(tmp_path / "s" / "scans" / uid / "hu", mode="r")
        assert array.compressors == ()


def test_an_empty_folder_becomes_a_store(scans: dict[str, Path], tmp_path: Path) -> None:
    assert preprocess(scans, tmp_path, StoreSpec()).stored == UIDS


def test_any_failure_costs_only_its_scan(scans: dict[str, Path], tmp_path: Path) -> None:
    def read(path: Path) -> Scan:
        if path == scans["1.2.2"]:
            raise KeyError("a bug of a reader")
        if path == scans["1.2.3"]:
            raise MemoryError
        return read_scan(path)

    report = preprocess({**scans, "../out": scans["1.2.1"]}, tmp_path / "s", StoreSpec(), read=read)
    assert report.stored == ["1.2.1"]
    assert "KeyError: 'a bug of a reader'" in report.failed["1.2.2"]
    assert "not enough memory; type fewer workers" in report.failed["1.2.3"]
    assert "cannot be the name of a folder" in report.failed["../out"]
    assert not list((tmp_path / "s" / "scans").glob(".partial-*"))


def test_a_scan_that_fails_while_it_is_written_leaves_nothing(
    scans: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "write_array", full)
    report = preprocess(scans, tmp_path / "s", StoreSpec())
    assert sorted(report.failed) == UIDS
    assert "No space left on device" in report.failed["1.2.1"]
    assert [p.name for p in (tmp_path / "s" / "scans").iterdir()] == ["zarr.json"]


# -- killed at every deletion and renaming ----------------------------------------------------------------------------

SMALL = StoreSpec(spacing_mm="native", lung_mask=False)


@pytest.fixture
def small(tmp_path: Path) -> dict[str, Path]:
    """Two scans of 8 voxels a side, fast enough to be stored dozens of times."""
    geometry = Geometry((8, 8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return {
        uid: write_mhd(tmp_path / f"{uid}.mhd", ct_like(geometry.shape_zyx, seed=n), geometry)
        for n, uid in enumerate(["7.1", "7.2"])
    }


def assert_no_scan_is_wrong(store: Path, wanted: dict[str, npt.NDArray[np.int16]]) -> None:
    """Whatever the store lists is one of the scans that are wanted."""
    if not written_series(store):
        with pytest.raises(StoreError, match="holds no scans yet"):
            CtStore(store)
        return
    opened = CtStore(store)
    for uid in opened.series_uids:
        assert any(np.array_equal(opened.volume(uid), volume) for volume in wanted.values()), uid


@pytest.mark.parametrize("step", [8, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("overwrite", [True, False])
def test_killed_anywhere_no_scan_is_half_there_and_the_next_run_finishes(
    overwrite: bool, step: int, small: dict[str, Path], tmp_path: Path
) -> None:
    """`overwrite` deletes all scans first; otherwise one is replaced because its file is another one now."""
    preprocess(small, tmp_path / "before", SMALL)
    old = {uid: CtStore(tmp_path / "before").volume(uid) for uid in small}
    geometry = Geometry((9, 8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    write_mhd(small["7.1"], ct_like(geometry.shape_zyx, seed=9), geometry)
    preprocess(small, tmp_path / "after", SMALL)
    new = {uid: CtStore(tmp_path / "after").volume(uid) for uid in small}
    wanted = {**{f"old {uid}": volume for uid, volume in old.items()}, **new}
    for change in range(3, 100, step):
        store = Path(shutil.copytree(tmp_path / "before", tmp_path / "s"))
        with killed_at(change) as killed:
            assert not preprocess(small, store, SMALL, overwrite=overwrite).failed
        assert_no_scan_is_wrong(store, wanted)
        assert not preprocess(small, store, SMALL).failed
        for uid, volume in new.items():
            assert np.array_equal(CtStore(store).volume(uid), volume)
        assert not list((store / "scans").glob(".partial-*"))
        shutil.rmtree(store)
        if not killed:
            break
    assert change > 4
    assert not killed


def test_killed_while_a_store_is_begun_the_next_run_begins_it(small: dict[str, Path], tmp_path: Path) -> None:
    for change in range(3):
        store = tmp_path / f"s{change}"
        with killed_at(change) as killed:
            preprocess(small, store, SMALL)
        assert killed
        assert preprocess(small, store, SMALL).stored == list(small)


def test_scans_that_cannot_be_deleted_are_named(
    small: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    preprocess(small, tmp_path / "s", SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refused)
        with pytest.raises(StoreError, match=r"its scans cannot be deleted \(Permission denied\)"):
            preprocess(small, tmp_path / "s", SMALL, overwrite=True)
    assert CtStore(tmp_path / "s").volume("7.1").size


@pytest.mark.parametrize("uid", ["", ".", "..", "a/b", "../out", "zarr.json", "a\0b", ".hidden"])
def test_a_name_that_cannot_be_a_folders_is_refused(uid: str, small: dict[str, Path], tmp_path: Path) -> None:
    report = preprocess({uid: small["7.1"], "7.2": small["7.2"]}, tmp_path / "s", SMALL)
    assert report.stored == ["7.2"]
    assert "cannot be the name of a folder" in report.failed[uid]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("uid", ["two words", "line\nbreak", "h\u00e9", "100%", "a\\b", "-x", "*"])
def test_any_other_name_can(uid: str, small: dict[str, Path], tmp_path: Path) -> None:
    assert preprocess({uid: small["7.1"]}, tmp_path / "s", SMALL).stored == [uid]
    assert CtStore(tmp_path / "s").series_uids == (uid,)
    assert preprocess({uid: small["7.1"]}, tmp_path / "s", SMALL).skipped == [uid]
