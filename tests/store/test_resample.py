"""Resampling against SimpleITK on the same grid."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from lungdet.geometry import Geometry
from lungdet.store.resample import resample_linear, resample_mask

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("direction", [(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), FLIPPED, OBLIQUE])
@pytest.mark.parametrize(
    ("spacing_xyz", "target_zyx"),
    [
        ((0.7, 0.7, 2.5), (1.0, 1.0, 1.0)),
        ((0.7, 0.9, 0.6), (1.0, 1.0, 1.0)),
        ((1.0, 1.0, 1.0), (0.5, 0.8, 0.6)),
        ((0.5, 0.5, 1.25), (2.0, 2.0, 2.0)),
        ((0.5, 0.5, 3.0), (1.0, 0.5, 0.5)),
    ],
)
def test_agrees_with_simpleitk_to_one_hu(
    spacing_xyz: tuple[float, float, float], target_zyx: tuple[float, float, float], direction: tuple[float, ...]
) -> None:
    source = Geometry((21, 34, 37), (-31.0, 12.5, 7.0), spacing_xyz, direction)
    hu = np.random.default_rng(0).integers(-1024, 3072, source.shape_zyx).astype(np.int16)
    target = source.resampled(target_zyx)
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(spacing_xyz)
    image.SetOrigin(source.origin_xyz_mm)
    image.SetDirection(direction)
    nothing = -9999.0  # a size that was rounded up may put the last voxel outside of SimpleITK's buffer
    expected = sitk.GetArrayFromImage(
        sitk.Resample(
            image, target.shape_zyx[::-1], sitk.Transform(), sitk.sitkLinear, target.origin_xyz_mm,
            target.spacing_xyz_mm, target.direction, nothing, sitk.sitkFloat64,
        )
    )  # fmt: skip
    ours = resample_linear(hu, source, target)
    assert ours.shape == target.shape_zyx
    inside = expected != nothing
    assert inside.mean() > 0.85
    # Half a HU is our rounding; SimpleITK interpolates in double, OpenCV in float.
    assert np.abs(ours - expected)[inside].max() <= 0.51


def test_the_same_grid_is_left_alone() -> None:
    geometry = Geometry((3, 4, 5), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    hu = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    assert resample_linear(hu, geometry, geometry) is hu


def test_rounds_to_nearest_instead_of_truncating() -> None:
    """Between -1 and -2, a quarter of the way: -1.25 and -1.75 become -1 and -2; truncation gives -1 twice."""
    source = Geometry((1, 1, 2), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    hu = np.array([[[-1, -2]]], np.int16)
    assert resample_linear(hu, source, source.resampled((1.0, 1.0, 0.5))).ravel().tolist() == [-1, -1, -2, -2]


def test_a_size_that_rounds_the_other_way_repeats_the_border() -> None:
    source = Geometry((2, 5, 5), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    target = Geometry((2, 6, 6), source.resampled((1.0, 0.9, 0.9)).origin_xyz_mm, (0.9, 0.9, 1.0))
    hu = np.full((2, 5, 5), 7, np.int16)
    assert (resample_linear(hu, source, target) == 7).all()
    assert resample_linear(hu, source, Geometry((2, 7, 7), target.origin_xyz_mm, (0.9, 0.9, 1.0))).shape == (2, 7, 7)


@pytest.mark.parametrize("target_zyx", [(1.0, 1.0, 1.0), (2.0, 0.7, 3.1), (5.0, 2.0, 2.0)])
def test_a_mask_is_cut_at_one_half_of_the_linear_interpolation(target_zyx: tuple[float, float, float]) -> None:
    source = Geometry((14, 20, 17), (0.0, 0.0, 0.0), (2.0, 2.0, 2.0))
    mask = np.random.default_rng(0).random(source.shape_zyx) < 0.4
    mask[:3] = mask[9:] = False
    target = source.resampled(target_zyx)
    expected = resample_linear(mask * np.int16(1000), source, target) >= 500
    resampled = resample_mask(mask, source, target)
    assert resampled.dtype == np.uint8
    assert np.array_equal(resampled, expected)
    assert 0 < expected.mean() < 1


def test_a_mask_on_the_same_grid_stays() -> None:
    geometry = Geometry((3, 4, 5), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mask = np.random.default_rng(0).random(geometry.shape_zyx) < 0.5
    assert np.array_equal(resample_mask(mask, geometry, geometry), mask)
