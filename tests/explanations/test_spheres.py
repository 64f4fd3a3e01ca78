from __future__ import annotations

import numpy as np

from lungdet.explanations.spheres import spheres_in_crop
from lungdet.geometry import Geometry


def test_a_sphere_by_hand_on_thick_slices() -> None:
    """Voxels of 1 x 1 x 2 mm; diameter 4.2 around the voxel (5, 6, 7): one slice to each side, two pixels in plane."""
    geometry = Geometry((20, 20, 20), (10.0, 20.0, 30.0), (1.0, 1.0, 2.0))
    center = geometry.index_to_world([5, 6, 7])
    mask = spheres_in_crop(geometry, center, (5, 7, 7), centers_xyz_mm=[center], diameters_mm=[4.2])
    assert mask[2].sum() == 13  # x^2 + y^2 <= 4.41
    assert mask[1].sum() == mask[3].sum() == 1  # 4 + x^2 + y^2 <= 4.41
    assert mask.sum() == 15
    assert mask[2, 3, 3]


def test_only_what_lies_in_the_crop_also_beyond_the_scan() -> None:
    geometry = Geometry((8, 8, 8), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    corner = spheres_in_crop(geometry, (0.0, 0.0, 0.0), (4, 4, 4), centers_xyz_mm=[[0, 0, 0]], diameters_mm=[2.0])
    assert np.argwhere(corner).tolist() == [[1, 2, 2], [2, 1, 2], [2, 2, 1], [2, 2, 2], [2, 2, 3], [2, 3, 2], [3, 2, 2]]
    far = spheres_in_crop(geometry, (0.0, 0.0, 0.0), (4, 4, 4), centers_xyz_mm=[[7, 7, 7]], diameters_mm=[2.0])
    assert not far.any()
    none = spheres_in_crop(geometry, (0.0, 0.0, 0.0), (4, 4, 4), centers_xyz_mm=np.empty((0, 3)), diameters_mm=[])
    assert not none.any()


def test_a_flipped_scan_turns_the_crop() -> None:
    geometry = Geometry((9, 9, 9), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    beside = geometry.index_to_world([4, 4, 6])
    mask = spheres_in_crop(
        geometry, geometry.index_to_world([4, 4, 4]), (5, 5, 5), centers_xyz_mm=[beside], diameters_mm=[1.0]
    )
    assert np.argwhere(mask).tolist() == [[2, 2, 4]]


def test_an_unknown_diameter_marks_nothing() -> None:
    geometry = Geometry((9, 9, 9), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert not spheres_in_crop(
        geometry, (4.0, 4.0, 4.0), (5, 5, 5), centers_xyz_mm=[[4, 4, 4]], diameters_mm=[np.nan]
    ).any()
