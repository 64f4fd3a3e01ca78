"""World <-> voxel on any orthonormal direction and any spacing, checked against SimpleITK's physical points."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from lungdet.errors import ScanError
from lungdet.geometry import FloatArray, Geometry, world_to_index_each

Triple = tuple[float, float, float]


def floats(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def triples(low: float, high: float) -> st.SearchStrategy[Triple]:
    return st.tuples(floats(low, high), floats(low, high), floats(low, high))


@st.composite
def directions(draw: st.DrawFn) -> tuple[float, ...]:
    """Every orthonormal matrix: a rotation by Euler angles, axes permuted and flipped (both handednesses)."""
    angles = draw(st.one_of(triples(-math.pi, math.pi), st.just((0.0, 0.0, 0.0)), st.just((0.0, 0.0, math.pi))))
    a, b, c = angles
    about_z = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    about_y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(c), -math.sin(c)], [0, math.sin(c), math.cos(c)]])
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    matrix: FloatArray = (about_z @ about_y @ about_x)[:, order] * np.array(signs)
    return tuple(matrix.ravel().tolist())


geometries = st.builds(
    Geometry,
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40)),
    triples(-2000, 2000),
    triples(0.05, 10),
    directions(),
)


def image_of(geometry: Geometry) -> sitk.Image:
    """The same grid in SimpleITK."""
    image = sitk.Image([1, 1, 1], sitk.sitkUInt8)  # one voxel: the transform does not depend on the size
    image.SetOrigin(geometry.origin_xyz_mm)
    image.SetSpacing(geometry.spacing_xyz_mm)
    image.SetDirection(geometry.direction)
    return image


@given(geometries, triples(-100, 200))
def test_index_to_world_and_back(geometry: Geometry, index: Triple) -> None:
    np.testing.assert_allclose(geometry.world_to_index(geometry.index_to_world(index)), index, atol=1e-6)


@given(geometries, triples(-3000, 3000))
def test_world_to_index_and_back(geometry: Geometry, point: Triple) -> None:
    np.testing.assert_allclose(geometry.index_to_world(geometry.world_to_index(point)), point, atol=1e-6)


@given(geometries, triples(-50, 100))
def test_agrees_with_simpleitk(geometry: Geometry, index: Triple) -> None:
    image = image_of(geometry)
    world = image.TransformContinuousIndexToPhysicalPoint(index[::-1])
    np.testing.assert_allclose(geometry.index_to_world(index), world, atol=1e-6)
    # Not SimpleITK's inverse: its SVD fails on some exact rotations ("suspicious return value (3) from SVDC").
    np.testing.assert_allclose(geometry.world_to_index(world), index, atol=1e-5)


@given(geometries, st.lists(triples(-100, 200), min_size=1, max_size=5))
def test_many_points_at_once_equal_one_by_one(geometry: Geometry, indices: list[Triple]) -> None:
    together = geometry.index_to_world([indices])
    assert together.shape == (1, len(indices), 3)
    np.testing.assert_allclose(together[0], [geometry.index_to_world(index) for index in indices], atol=1e-9)
    back = geometry.world_to_index(together)
    assert back.flags.c_contiguous
    np.testing.assert_allclose(back[0], indices, atol=1e-6)


@given(geometries)
def test_json_keeps_every_bit(geometry: Geometry) -> None:
    copy = Geometry.from_dict(json.loads(json.dumps(geometry.to_dict())))
    assert copy == geometry
    assert hash(copy) == hash(geometry)


@given(geometries, triples(0.3, 8))
def test_resampled_keeps_the_outer_corner_and_half_a_voxel_of_the_extent(geometry: Geometry, spacing: Triple) -> None:
    grid = geometry.resampled(spacing)
    assert grid.spacing_zyx_mm == pytest.approx(spacing)
    assert grid.direction == geometry.direction
    corner = [-0.5, -0.5, -0.5]
    np.testing.assert_allclose(grid.index_to_world(corner), geometry.index_to_world(corner), atol=1e-6)
    for extent, before, step, count in zip(
        grid.size_zyx_mm, geometry.size_zyx_mm, spacing, grid.shape_zyx, strict=True
    ):
        assert count == 1 or abs(extent - before) <= step / 2 + 1e-6


@given(geometries, triples(0.3, 8), triples(-0.5, 0.5))
def test_a_point_keeps_its_place_on_the_resampled_grid(geometry: Geometry, spacing: Triple, inside: Triple) -> None:
    """SimpleITK finds the same physical point at the index that we compute."""
    index = (np.asarray(inside) + 0.5) * (np.asarray(geometry.shape_zyx) - 1)
    world = geometry.index_to_world(index)
    grid = geometry.resampled(spacing)
    there = grid.world_to_index(world)
    np.testing.assert_allclose(image_of(grid).TransformContinuousIndexToPhysicalPoint(there[::-1]), world, atol=1e-6)
    # Half a voxel beyond the volume at most, where the number of voxels was rounded down.
    assert np.all((there >= -0.5 - 1e-6) & (there <= np.asarray(grid.shape_zyx)))


@given(geometries)
def test_resampling_to_its_own_spacing_changes_nothing(geometry: Geometry) -> None:
    same = geometry.resampled(geometry.spacing_zyx_mm)
    assert same.shape_zyx == geometry.shape_zyx
    np.testing.assert_allclose(same.origin_xyz_mm, geometry.origin_xyz_mm, atol=1e-9)


@given(geometries, triples(-0.99, 0.99))
def test_contains_is_the_box_of_outer_faces(geometry: Geometry, offset: Triple) -> None:
    half = np.asarray(geometry.shape_zyx) / 2
    centre = half - 0.5
    assert geometry.contains(geometry.index_to_world(centre + np.asarray(offset) * half))
    for axis in range(3):
        beyond = np.zeros(3)
        beyond[axis] = half[axis] + 0.01
        outside = [geometry.index_to_world(centre + sign * beyond) for sign in (-1, 1)]
        assert geometry.contains(outside).tolist() == [False, False]


def test_flipped_axes_by_hand() -> None:
    """The direction of 14 LUNA16 series: x and y run backwards."""
    flipped = Geometry((10, 20, 30), (100.0, 80.0, 5.0), (0.5, 0.5, 2.0), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    assert flipped.index_to_world([1, 2, 4]).tolist() == [98.0, 79.0, 7.0]
    assert flipped.world_to_index([98.0, 79.0, 7.0]).tolist() == [1.0, 2.0, 4.0]


def test_the_matrix_is_not_its_transpose() -> None:
    """A rotation about z by 30 degrees: the x axis of the grid points to (cos, sin, 0) in the world."""
    c, s = math.cos(math.pi / 6), 0.5
    turned = Geometry((4, 4, 4), (0, 0, 0), (2, 1, 1), (c, -s, 0, s, c, 0, 0, 0, 1))
    np.testing.assert_allclose(turned.index_to_world([0, 0, 1]), [2 * c, 2 * s, 0], atol=1e-12)
    np.testing.assert_allclose(turned.world_to_index([2 * c, 2 * s, 0]), [0, 0, 1], atol=1e-12)


def test_sizes_and_spacings_in_array_order() -> None:
    geometry = Geometry((10, 20, 30), (0, 0, 0), (0.5, 0.25, 2.0))
    assert geometry.spacing_zyx_mm == (2.0, 0.25, 0.5)
    assert geometry.size_zyx_mm == (20.0, 5.0, 15.0)


def test_a_thin_volume_keeps_one_voxel() -> None:
    assert Geometry((1, 2, 2), (0, 0, 0), (1, 1, 1)).resampled((10, 10, 10)).shape_zyx == (1, 1, 1)


def test_numpy_and_list_input_give_the_same_value() -> None:
    typed = Geometry((1, 2, 3), (0.0, 1.0, 2.0), (1.0, 1.0, 1.0))
    loose: Any = (np.array([1, 2, 3]), [0, 1, 2], np.ones(3, np.float32), np.eye(3).ravel())
    assert Geometry(*loose) == typed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape_zyx": (0, 2, 3)}, r"shape_zyx must be three sizes >= 1, got \(0, 2, 3\)"),
        ({"shape_zyx": (2, 3)}, "shape_zyx must be three sizes >= 1"),
        ({"spacing_xyz_mm": (1, 0, 1)}, r"spacing_xyz_mm must be three positive numbers, got \(1\.0, 0\.0, 1\.0\)"),
        ({"spacing_xyz_mm": (1, -1, 1)}, "spacing_xyz_mm must be three positive numbers"),
        ({"spacing_xyz_mm": (1, math.nan, 1)}, "spacing_xyz_mm must be three positive numbers"),
        ({"spacing_xyz_mm": (1, math.inf, 1)}, "spacing_xyz_mm must be three positive numbers"),
        ({"spacing_xyz_mm": (1, 1)}, "spacing_xyz_mm must be three positive numbers"),
        ({"origin_xyz_mm": (0, math.nan, 0)}, "origin_xyz_mm must be three finite numbers"),
        ({"origin_xyz_mm": (0, 0)}, "origin_xyz_mm must be three finite numbers"),
        ({"direction": (1, 0, 0, 1)}, r"direction must have 9 numbers \(3 x 3, row-major\), got 4"),
        ({"direction": (1, 0, 0, 0, 1, 0, 0, 0, 1.001)}, "direction must be orthonormal; .* away from identity"),
        ({"direction": (1, 0.01, 0, 0, 1, 0, 0, 0, 1)}, "direction must be orthonormal"),
        ({"direction": (math.nan,) * 9}, "direction must be orthonormal"),
        ({"direction": (0,) * 9}, "direction must be orthonormal"),
    ],
)
def test_impossible_grids(change: dict[str, Any], message: str) -> None:
    sound: dict[str, Any] = {"shape_zyx": (1, 2, 3), "origin_xyz_mm": (0, 0, 0), "spacing_xyz_mm": (1, 1, 1)}
    with pytest.raises(ScanError, match=message):
        Geometry(**(sound | change))


@pytest.mark.parametrize("spacing", [(0, 1, 1), (1, math.nan, 1), (1, 1, -1), (1, 1)])
def test_impossible_spacing_to_resample_to(spacing: Any) -> None:
    with pytest.raises(ScanError, match="spacing_zyx_mm must be three positive numbers"):
        Geometry((1, 2, 3), (0, 0, 0), (1, 1, 1)).resampled(spacing)


@given(st.lists(st.tuples(geometries, triples(-500, 500)), min_size=1, max_size=5))
def test_a_point_in_a_grid_of_its_own_each_equals_one_by_one(pairs: list[tuple[Geometry, Triple]]) -> None:
    grids, points = zip(*pairs, strict=True)
    expected = [grid.world_to_index(point) for grid, point in pairs]
    assert np.allclose(world_to_index_each(grids, points), expected, rtol=1e-12, atol=1e-9)


def test_no_points_in_no_grids() -> None:
    assert world_to_index_each([], np.empty((0, 3))).shape == (0, 3)
