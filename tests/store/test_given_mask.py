"""Masks that came with the scans: codes survive resampling, a mask of another scan is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.store.given_mask import read_given_mask

GRID = Geometry((6, 10, 12), (5.0, -3.0, 8.0), (0.5, 0.5, 2.0))


def codes() -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    mask = np.zeros(GRID.shape_zyx, np.int16)
    mask[:, :, :5], mask[:, :, 6:], mask[4:, 5, 5] = 3, 4, 5
    return mask


def test_on_the_same_grid_nothing_changes() -> None:
    mask = read_given_mask(Path("m"), GRID, GRID, read=lambda _: Scan(codes(), GRID, "m"))
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, codes())


@pytest.mark.parametrize("spacing", [(0.9, 0.9, 0.9), (3.0, 0.4, 0.7), (0.7, 1.9, 0.35)])
def test_a_new_voxel_has_the_code_of_the_old_one_it_lies_in(spacing: tuple[float, float, float]) -> None:
    target = GRID.resampled(spacing)
    mask = read_given_mask(Path("m"), GRID, target, read=lambda _: Scan(codes(), GRID, "m"))
    places = np.stack(np.meshgrid(*map(np.arange, target.shape_zyx), indexing="ij"), axis=-1)
    index = GRID.world_to_index(target.index_to_world(places))
    clear = (np.abs(index - np.floor(index) - 0.5) > 1e-6).all(axis=-1)  # not on a face between two voxels
    nearest = np.clip(np.rint(index).astype(int), 0, np.array(GRID.shape_zyx) - 1)
    assert clear.sum() > 10
    assert np.array_equal(mask[clear], codes()[tuple(nearest[clear].T)])


def test_the_mask_of_another_scan_is_refused() -> None:
    shifted = Geometry(GRID.shape_zyx, (6.0, -3.0, 8.0), GRID.spacing_xyz_mm)
    with pytest.raises(ScanError, match=r"m: the mask has \(6, 10, 12\) voxels from \[6.0, -3.0, 8.0\] mm, its scan"):
        read_given_mask(Path("m"), GRID, GRID, read=lambda _: Scan(codes(), shifted, "m"))
    smaller = Geometry((5, 10, 12), GRID.origin_xyz_mm, GRID.spacing_xyz_mm)
    with pytest.raises(ScanError, match="give the mask of this scan, or none"):
        read_given_mask(Path("m"), GRID, GRID, read=lambda _: Scan(codes()[:5], smaller, "m"))


def test_a_scan_given_as_mask_is_refused() -> None:
    with pytest.raises(ScanError, match=r"mask codes from -1000 to 4; they must lie in 0\.\.255"):
        read_given_mask(Path("m"), GRID, GRID, read=lambda _: Scan(np.where(codes() == 0, -1000, 4), GRID, "m"))
