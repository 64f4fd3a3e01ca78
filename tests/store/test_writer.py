"""One scan in the store: geometry, clipping, identity; a scan that fails leaves nothing behind."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.scan import read_scan
from lungdet.store.marker import write_marker
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec
from lungdet.store.writer import put_in_place, write_scan


@pytest.mark.parametrize("uid", ["1.2.1", "1.2.2", "1.2.3"])
def test_a_point_survives_to_half_a_voxel(uid: str, scans: dict[str, Path], tmp_path: Path) -> None:
    """A bright voxel at a known world position is the brightest of the crop around that position, at its centre."""
    import SimpleITK as sitk

    scan = read_scan(scans[uid])
    hu = np.full(scan.hu.shape, -800, np.int16)
    place = np.asarray(hu.shape, np.int64) // 2 + 3
    hu[tuple(slice(p - 1, p + 2) for p in place)] = 1000
    image = sitk.GetImageFromArray(hu)
    image.CopyInformation(sitk.ReadImage(str(scans[uid])))
    sitk.WriteImage(image, str(tmp_path / f"{uid}.mhd"))
    write_marker(tmp_path / "s", StoreSpec())
    write_scan(tmp_path / f"{uid}.mhd", tmp_path / "s", StoreSpec(), series_uid=uid)
    point = scan.geometry.index_to_world(place)
    crop, _ = CtStore(tmp_path / "s").crop(uid, point, (15, 15, 15))
    bright = np.argwhere(crop > crop.max() - 300).mean(axis=0)
    assert np.abs(bright - 7).max() <= 1.0, "half a voxel of the store, half of rounding to its grid"
    assert crop[7, 7, 7] > 600


def test_native_keeps_voxels_and_grid(scans: dict[str, Path], tmp_path: Path) -> None:
    spec = StoreSpec(spacing_mm="native")
    write_marker(tmp_path, spec)
    write_scan(scans["1.2.2"], tmp_path, spec, series_uid="1.2.2")
    store, scan = CtStore(tmp_path), read_scan(scans["1.2.2"])
    assert store.geometry("1.2.2") == scan.geometry
    assert np.array_equal(store.volume("1.2.2"), np.clip(scan.hu, -1024, 3071))


def test_padding_is_clipped_before_it_is_blended(scans: dict[str, Path], tmp_path: Path) -> None:
    write_marker(tmp_path, StoreSpec())
    write_scan(scans["1.2.1"], tmp_path, StoreSpec(), series_uid="1.2.1")
    assert read_scan(scans["1.2.1"]).hu.min() < -1024
    assert CtStore(tmp_path).volume("1.2.1").min() == -1024


def test_attributes_tell_where_it_came_from(scans: dict[str, Path], tmp_path: Path) -> None:
    write_marker(tmp_path, StoreSpec())
    write_scan(scans["1.2.1"], tmp_path, StoreSpec(), series_uid="1.2.1")
    record = json.loads((tmp_path / "scans" / "1.2.1" / "zarr.json").read_text())["attributes"]["lungdet"]
    assert record["source"]["file"] == "1.2.1.mhd"
    header, voxels = scans["1.2.1"], scans["1.2.1"].with_suffix(".raw")
    assert record["source"]["bytes"] == header.stat().st_size + voxels.stat().st_size
    assert Geometry.from_dict(record["source"]["geometry"]) == read_scan(scans["1.2.1"]).geometry
    volume = zarr.open_array(tmp_path / "scans" / "1.2.1" / "hu", mode="r")[...]
    import hashlib

    assert record["content_hash"] == hashlib.sha256(np.asarray(volume).tobytes()).hexdigest()


def test_a_scan_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    write_marker(tmp_path / "s", StoreSpec())
    (tmp_path / "bad.mhd").write_text("ObjectType = Image\nNDims = 2\n")
    with pytest.raises(ScanError):
        write_scan(tmp_path / "bad.mhd", tmp_path / "s", StoreSpec(), series_uid="bad")
    assert [p.name for p in (tmp_path / "s" / "scans").iterdir()] == ["zarr.json"]


def test_a_folder_counts_all_its_files(scans: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "a").write_bytes(b"123")
    (tmp_path / "dicom" / "b").write_bytes(b"12")
    write_marker(tmp_path / "s", StoreSpec(lung_mask=False))
    write_scan(
        tmp_path / "dicom",
        tmp_path / "s",
        StoreSpec(lung_mask=False),
        series_uid="x",
        read=lambda _: read_scan(scans["1.2.3"]),
    )
    record = json.loads((tmp_path / "s" / "scans" / "x" / "zarr.json").read_text())["attributes"]["lungdet"]
    assert record["source"]["bytes"] == 5


def test_of_several_who_put_a_scan_there_the_last_one_stays(tmp_path: Path) -> None:
    """Workers of a cluster that were given the same scan, trainings that start together."""

    def put(n: int) -> None:
        for k in range(40):
            partial = tmp_path / f".partial-{n}-{k}"
            partial.mkdir()
            (partial / "zarr.json").write_text("whole")
            put_in_place(partial, tmp_path / "1.2.3")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(4)))
    assert [path.name for path in tmp_path.iterdir()] == ["1.2.3"]
    assert (tmp_path / "1.2.3" / "zarr.json").read_text() == "whole"


def test_a_file_in_its_place_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "partial").mkdir()
    (tmp_path / "1.2.3").write_text("thesis")
    with pytest.raises(NotADirectoryError):
        put_in_place(tmp_path / "partial", tmp_path / "1.2.3")
    assert (tmp_path / "1.2.3").read_text() == "thesis"
