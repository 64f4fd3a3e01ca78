from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage

from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.pipeline.lungs import Lungs, find_lungs

GEOMETRY = Geometry((12, 20, 22), (-5.0, 3.0, 70.0), (0.8, 0.7, 2.0), (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0))


def two_blocks() -> Lungs:
    mask = np.zeros(GEOMETRY.shape_zyx, bool)
    mask[2:9, 4:16, 2:9] = mask[3:8, 5:15, 13:20] = True
    return Lungs(mask, GEOMETRY)


def full_mask(lungs: Lungs) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros(lungs.geometry.shape_zyx, bool)
    mask[lungs.box.slices] = lungs.mask
    return mask


@pytest.mark.parametrize("margin", [0.0, 0.75, 2.0, 3.3, 50.0])
def test_search_region_holds_what_is_within_the_margin(margin: float) -> None:
    lungs = two_blocks()
    region = lungs.search_region(margin)
    found = np.zeros(GEOMETRY.shape_zyx, bool)
    found[region.box.slices] = region.inside
    distance = scipy.ndimage.distance_transform_edt(~full_mask(lungs), sampling=GEOMETRY.spacing_zyx_mm)
    np.testing.assert_array_equal(found, distance <= margin)


def test_depth_is_the_distance_to_the_nearest_surface_voxel_with_its_sign() -> None:
    lungs = two_blocks()
    mask = full_mask(lungs)
    surface = np.argwhere(mask & ~scipy.ndimage.binary_erosion(mask))
    points = GEOMETRY.index_to_world(surface)
    voxels = np.array([[5, 10, 5], [2, 4, 2], [5, 10, 11], [0, 0, 0], [4, 9, 16], [11, 19, 21]])
    for voxel, depth in zip(voxels, lungs.depth_mm(GEOMETRY.index_to_world(voxels)), strict=True):
        distance = np.linalg.norm(points - GEOMETRY.index_to_world(voxel), axis=1).min()
        assert depth == pytest.approx(distance if mask[tuple(voxel)] else -distance, abs=1e-6)
    outside_the_volume = lungs.depth_mm(GEOMETRY.index_to_world(np.array([[5, 10, -9]])))
    assert outside_the_volume[0] < -7
    assert lungs.depth_mm(np.empty((0, 3))).shape == (0,)


def test_lungs_that_fill_the_volume_end_where_it_ends() -> None:
    geometry = Geometry((9, 9, 9), (0, 0, 0), (1, 1, 1))
    lungs = Lungs(np.ones((9, 9, 9), bool), geometry)
    assert lungs.depth_mm(np.array([[4.0, 4.0, 4.0]]))[0] == 4.0
    assert lungs.volume_ml == pytest.approx(0.729)


def test_the_same_lungs_on_another_grid() -> None:
    lungs = two_blocks()
    target = GEOMETRY.resampled((1.0, 1.0, 1.0))
    other = lungs.on_grid(target)
    inside = full_mask(other)
    nearest = np.rint(GEOMETRY.world_to_index(target.index_to_world(np.argwhere(np.ones_like(inside))))).astype(int)
    nearest = nearest.clip(0, np.array(GEOMETRY.shape_zyx) - 1)
    # Voxel centres of both grids meet at ties only, where either neighbour is right.
    assert (full_mask(lungs)[tuple(nearest.T)] == inside.ravel()).mean() > 0.97
    assert other.volume_ml == pytest.approx(lungs.volume_ml, rel=0.1)
    assert lungs.on_grid(GEOMETRY) is lungs


def test_finds_the_lungs_of_a_chest_and_none_in_a_head(chest_scan: Callable[..., Scan]) -> None:
    lungs = find_lungs(chest_scan())
    assert lungs is not None
    truth = chest_scan().hu < -600  # noise of 15 HU does not reach that far
    body = scipy.ndimage.binary_fill_holes(chest_scan().hu > -300)
    truth &= scipy.ndimage.binary_erosion(body)
    overlap = 2 * (full_mask(lungs) & truth).sum() / (full_mask(lungs).sum() + truth.sum())
    assert overlap > 0.9
    assert find_lungs(chest_scan(lungs=False)) is None
