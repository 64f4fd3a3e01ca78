"""The voxels of findings: balls by definition, segmentations carried to the scan's own grid."""

from __future__ import annotations

import numpy as np
import pytest

from lungdet.geometry import Geometry
from lungdet.pipeline.regions import Region, ball

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((20, 40, 50), (-10.0, 5.0, 100.0), (0.7, 0.9, 2.5), OBLIQUE)


def painted(region: Region, geometry: Geometry) -> np.ndarray:
    volume = np.zeros(geometry.shape_zyx, bool)
    volume[region.slices] = region.mask
    return volume


@pytest.mark.parametrize("diameter_mm", [3.1, 8.3, 20.9])
@pytest.mark.parametrize("index", [(10, 20, 25), (0, 0, 0), (19.4, 39.3, 49.4), (3.3, 17.5, 2.2)])
def test_ball_holds_the_voxels_whose_centres_lie_in_it(index: tuple[float, ...], diameter_mm: float) -> None:
    center = GRID.index_to_world(np.clip(index, 0, np.asarray(GRID.shape_zyx) - 1))
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in GRID.shape_zyx), indexing="ij"), axis=-1)
    inside = np.linalg.norm(GRID.index_to_world(voxels) - center, axis=-1) <= diameter_mm / 2
    inside[tuple(np.rint(GRID.world_to_index(center)).astype(int))] = True
    assert np.array_equal(painted(ball(GRID, center, diameter_mm), GRID), inside)


def test_ball_of_nothing_and_ball_outside_keep_one_voxel() -> None:
    center = GRID.index_to_world([4.2, 7.0, 9.0])
    assert np.argwhere(painted(ball(GRID, center, float("nan")), GRID)).tolist() == [[4, 7, 9]]
    far = ball(GRID, GRID.index_to_world([50, 7, 9]), 0.0)
    assert np.argwhere(painted(far, GRID)).tolist() == [[19, 7, 9]]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.9, 0.7), (4.0, 3.0, 3.0), (1.3, 1.2, 1.1)])
def test_region_goes_to_the_scan_by_nearest_voxels(spacing: tuple[float, float, float]) -> None:
    source = GRID.resampled(spacing)
    mask = np.zeros(source.shape_zyx, bool)
    center = np.asarray(source.shape_zyx) // 2
    near = np.linalg.norm((np.indices(source.shape_zyx).T - center).T * np.array(spacing)[:, None, None, None], axis=0)
    mask[near <= 9] = True
    low, high = np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0) + 1
    z, y, x = low.tolist()
    region = Region((z, y, x), mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))], "segmentation")
    got = painted(region.on_grid(source, GRID), GRID)
    # Each voxel of the scan asks the source grid, through world coordinates.
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in GRID.shape_zyx), indexing="ij"), axis=-1)
    index = np.rint(source.world_to_index(GRID.index_to_world(voxels))).astype(int)
    inside = np.all((index >= 0) & (index < source.shape_zyx), axis=-1)
    expected = np.zeros(GRID.shape_zyx, bool)
    expected[inside] = mask[tuple(index[inside].T)]
    # Half-way cases may fall to either side.
    assert (got ^ expected).mean() < 0.002
    assert got.sum() == pytest.approx(expected.sum(), rel=0.05)


def test_region_too_small_for_a_coarse_scan_keeps_a_voxel() -> None:
    coarse = Geometry((4, 4, 4), (0.0, 0.0, 0.0), (5.0, 5.0, 10.0))
    fine = coarse.resampled((1.0, 1.0, 1.0))
    region = Region((21, 11, 12), np.ones((1, 1, 1), bool), "segmentation").on_grid(fine, coarse)
    assert np.argwhere(painted(region, coarse)).tolist() == [[2, 2, 2]]
