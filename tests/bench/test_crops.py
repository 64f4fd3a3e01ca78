"""The crops benchmark: its readers agree, its sections and baselines, what it does where a cache cannot be dropped."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lungdet.bench import crops as module
from lungdet.bench.drawn.volumes import CROP_ZYX, Volumes, draw_crops
from lungdet.store.reader import CtStore


def test_the_baseline_pads_as_the_store_does(volumes: Volumes) -> None:
    crops = draw_crops(volumes, 30, seed=1)
    arrays = {uid: np.load(path, mmap_mode="r") for uid, path in volumes.npy.items()}
    expected = CtStore(volumes.stores["lz4"]).crops(crops.series_uids, crops.center_xyz_mm, CROP_ZYX)
    assert np.array_equal(module.read_mapped(arrays, crops), expected)
    assert (expected == module.AIR_HU).any()


def test_measures_every_reader_warm_and_cold(
    bench_folder: Path, volumes: Volumes, shrink: Callable[[object], None]
) -> None:
    shrink(module)
    lines = module.measure(quick=True, folder=bench_folder)
    sections = {line.section: line.baseline for line in lines}
    assert sections == {
        "crops, cache warm": module.MEMMAP,
        "crops, cache warm, same lz4 store": module.ZARR,
        "crops, cache warm, the book's way": module.BOOK,
        "crops, the first time, 850 a scan": module.BOOK,
        "crops, cache cold": module.MEMMAP,
    }
    assert len(lines) == 5 + 2 + 6 + 3 + 5
    assert all(0 < line.low <= line.median <= line.high for line in lines)


def test_without_fadvise_there_are_no_cold_figures(
    bench_folder: Path,
    volumes: Volumes,
    shrink: Callable[[object], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shrink(module)
    monkeypatch.delattr(os, "posix_fadvise")
    with caplog.at_level(logging.WARNING):
        lines = module.measure(quick=True, folder=bench_folder)
    assert "no figures for a cold one" in caplog.text
    assert "crops, cache cold" not in {line.section for line in lines}
