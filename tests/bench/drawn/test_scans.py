"""The drawn scans: read back as written, the same every time, chests that hold lungs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lungdet.bench.drawn.scans import Collection, draw_chest, scans_for
from lungdet.io.scan import read_scan
from lungdet.store.lung_mask import lung_mask

SMALL = Collection(2, (30, 64, 60), (1.5, 2.0, 3.0))


def test_written_scans_read_back(tmp_path: Path) -> None:
    paths = scans_for(tmp_path, SMALL)
    assert len(paths) == 2
    for n, (uid, path) in enumerate(paths.items()):
        scan = read_scan(path)
        assert scan.series_uid == uid
        assert scan.geometry.shape_zyx == SMALL.shape_zyx
        assert scan.geometry.spacing_xyz_mm == SMALL.spacing_xyz_mm
        assert np.array_equal(scan.hu, draw_chest(SMALL.shape_zyx, seed=n))


def test_scans_that_are_there_are_used_again(tmp_path: Path) -> None:
    first = scans_for(tmp_path, SMALL)
    times = {uid: path.stat().st_mtime_ns for uid, path in first.items()}
    again = scans_for(tmp_path, SMALL)
    assert again == first
    assert {uid: path.stat().st_mtime_ns for uid, path in again.items()} == times


def test_patients_differ_and_have_padding_and_noise() -> None:
    one, other = (draw_chest(SMALL.shape_zyx, seed=n) for n in (1, 2))
    assert not np.array_equal(one, other)
    assert np.array_equal(one, draw_chest(SMALL.shape_zyx, seed=1))
    assert (one[:, 0, 0] == -2048).all()
    fat = one[(one > -180) & (one < -20)]
    assert 10 < fat.std() < 40


def test_they_have_lungs(tmp_path: Path) -> None:
    scan = read_scan(next(iter(scans_for(tmp_path, Collection(1, (60, 110, 110), (3.0, 3.0, 4.0))).values())))
    mask = lung_mask(np.clip(scan.hu, -1024, 3071), scan.geometry)
    assert 0.05 < mask.mean() < 0.3
    assert np.median(scan.hu[mask.astype(bool)]) < -700
