"""The book's crops are ours, clipped as the book does, and come from its cache the second time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungdet.bench.baselines.book_way import BookWay
from lungdet.bench.drawn.scans import Collection, scans_for
from lungdet.bench.drawn.volumes import Volumes, draw_crops
from lungdet.store.reader import CtStore

SHAPE = (8, 12, 10)


@pytest.mark.parametrize("compress", [True, False])
def test_reads_the_crops_that_the_store_gives(
    compress: bool, bench_folder: Path, volumes: Volumes, tiny: Collection, tmp_path: Path
) -> None:
    scans = scans_for(bench_folder, tiny)
    drawn = draw_crops(volumes, 20, seed=0)
    expected = CtStore(volumes.stores["lz4"]).crops(drawn.series_uids, drawn.center_xyz_mm, SHAPE)
    starts = np.array(drawn.start_zyx) + np.array((32, 48, 48)) // 2 - np.array(SHAPE) // 2
    shapes = np.array([volumes.geometries[uid].shape_zyx for uid in drawn.series_uids])
    inside = ((starts >= 0) & (starts + SHAPE <= shapes)).all(axis=1)
    assert 5 < inside.sum() < 20
    book = BookWay(scans, tmp_path / "cache", shape_zyx=SHAPE, compress=compress)
    for uid, center, crop, is_inside in zip(
        drawn.series_uids, drawn.center_xyz_mm.tolist(), expected, inside, strict=True
    ):
        given = book.crop(uid, center)
        assert given.dtype == np.float32
        assert given.shape == SHAPE, "at the border it is moved"
        if is_inside:
            assert np.array_equal(given, crop.clip(-1000, 1000))
    again = BookWay({}, tmp_path / "cache", shape_zyx=SHAPE, compress=compress)  # without scans
    for uid, center in zip(drawn.series_uids, drawn.center_xyz_mm.tolist(), strict=True):
        assert np.array_equal(again.crop(uid, center), book.cut(uid, center))


def test_the_last_scan_stays_in_memory(bench_folder: Path, volumes: Volumes, tiny: Collection, tmp_path: Path) -> None:
    book = BookWay(scans_for(bench_folder, tiny), tmp_path, shape_zyx=SHAPE, compress=True)
    one, other = volumes.geometries
    assert book.last_scan(one) is book.last_scan(one)
    first = book.last_scan(one)
    book.last_scan(other)
    assert book.last_scan(one) is not first
