"""Every form of the scans holds the same voxels, and the two ways to name a crop mean the same one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungdet.bench.drawn.scans import Collection
from lungdet.bench.drawn.volumes import CODECS, CROP_ZYX, Volumes, draw_crops, prepare
from lungdet.errors import StoreError
from lungdet.store.reader import CtStore


def test_npy_and_stores_hold_the_same(volumes: Volumes) -> None:
    for uid, path in volumes.npy.items():
        expected = np.load(path)
        for codec in CODECS:
            assert np.array_equal(CtStore(volumes.stores[codec]).volume(uid), expected)
    assert len(volumes.files) == 2 * (1 + len(CODECS))
    assert all(path.is_file() for path in volumes.files)


def test_what_is_there_is_not_made_again(volumes: Volumes, bench_folder: Path, tiny: Collection) -> None:
    before = [path.stat().st_mtime_ns for path in volumes.npy.values()]
    assert prepare(bench_folder, tiny) == volumes
    assert [path.stat().st_mtime_ns for path in volumes.npy.values()] == before


def test_millimetres_and_voxels_name_the_same_crop(volumes: Volumes) -> None:
    crops = draw_crops(volumes, 20, seed=3)
    assert len(crops.first(5)) == 5
    for uid, center, start in zip(crops.series_uids, crops.center_xyz_mm, crops.start_zyx, strict=True):
        index = np.rint(volumes.geometries[uid].world_to_index(center)).astype(int)
        assert (index - np.array(CROP_ZYX) // 2).tolist() == start


def test_a_scan_that_cannot_be_stored_ends_it(tmp_path: Path, tiny: Collection) -> None:
    from lungdet.bench.drawn.scans import scans_for

    for path in scans_for(tmp_path, tiny).values():
        path.with_suffix(".raw").write_bytes(b"")
    with pytest.raises(StoreError, match="the benchmark's own scans failed"):
        prepare(tmp_path, tiny)
