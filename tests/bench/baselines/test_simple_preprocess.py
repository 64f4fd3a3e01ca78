"""The baseline does the same work: same voxels as ours on its own grid, nearly the same lungs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import zarr

from lungdet.bench.baselines.simple_preprocess import simple_preprocess
from lungdet.bench.drawn.scans import Collection, scans_for
from lungdet.io.scan import read_scan
from lungdet.store.lung_mask import lung_mask


def test_resamples_clips_and_finds_the_lungs(tmp_path: Path) -> None:
    (path,) = scans_for(tmp_path, Collection(1, (60, 110, 110), (3.0, 3.0, 4.0))).values()
    simple_preprocess(path, tmp_path / "out.zarr")
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    hu, mask = (np.asarray(group[name][...]) for name in ("hu", "lung_mask"))  # type: ignore[index]
    assert hu.shape == mask.shape == (240, 330, 330)
    assert hu.min() == -1024
    # Every fourth (third) voxel of the new grid falls on one of the old.
    original = np.clip(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), -1024, 3071)
    assert np.abs(hu[::4, ::3, ::3].astype(int) - original).max() <= 1
    scan = read_scan(path)
    ours = lung_mask(original, scan.geometry).astype(bool)
    theirs = mask[::4, ::3, ::3].astype(bool)
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.93
