"""Pictures stand upright whatever the direction matrix: a volume with marked sides is read back from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from lungdet.errors import ScanError, ShapeError
from lungdet.evaluation.views import View, orthogonal_views, patient_views
from lungdet.geometry import Geometry

# HU painted on a slab 8 to 13 mm from the centre, on the side of the patient that the letter names (LPS).
SIDES = {
    "R": (np.array([-1.0, 0, 0]), 100),
    "L": (np.array([1.0, 0, 0]), 200),
    "A": (np.array([0, -1.0, 0]), 300),
    "P": (np.array([0, 1.0, 0]), 400),
    "F": (np.array([0, 0, -1.0]), 500),
    "H": (np.array([0, 0, 1.0]), 600),
}


def rotation(x_deg: float, y_deg: float, z_deg: float) -> npt.NDArray[np.float64]:
    cx, cy, cz = np.cos(np.deg2rad([x_deg, y_deg, z_deg]))
    sx, sy, sz = np.sin(np.deg2rad([x_deg, y_deg, z_deg]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turned: npt.NDArray[np.float64] = about_z @ about_y @ about_x
    return turned


DIRECTIONS = {
    "identity": np.eye(3),
    "flipped": np.diag([-1.0, -1.0, 1.0]),
    "feet first": np.diag([1.0, -1.0, -1.0]),
    "left-handed": np.diag([1.0, 1.0, -1.0]),
    "permuted": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),  # slices run along the patient's x
    "oblique": rotation(12, -8, 20),
    "flipped and oblique": rotation(-10, 15, 5) @ np.diag([-1.0, -1.0, 1.0]),
}


def marked_crop(
    direction: npt.NDArray[np.float64], spacing_zyx_mm: tuple[float, float, float], shape: tuple[int, int, int]
) -> npt.NDArray[np.int16]:
    """Sides are painted in world coordinates, so the picture must show them whatever the grid."""
    z, y, x = spacing_zyx_mm
    grid = Geometry(shape, (0, 0, 0), (x, y, z), tuple(direction.ravel()))
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = grid.index_to_world(index) - grid.index_to_world(np.asarray(shape) // 2)
    hu = np.full(shape, -800, dtype=np.int16)
    for normal, value in SIDES.values():
        along = world @ normal
        across = np.linalg.norm(world - along[..., None] * normal, axis=-1)
        hu[(along >= 8) & (along <= 13) & (across < 4)] = value
    hu[tuple(np.asarray(shape) // 2)] = 3000
    return hu


def sides_seen(view: View) -> tuple[str, str, str, str]:
    """Which painted side stands at the top, bottom, left and right, 10.5 mm from the middle."""
    middle = np.array(view.hu.shape) // 2
    step = round(10.5 / view.pixel_mm)
    letters = {value: letter for letter, (_, value) in SIDES.items()}
    found = [view.hu[tuple(middle + np.array(move) * step)] for move in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    return tuple(letters[round(float(v))] for v in found)  # type: ignore[return-value]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.25, 0.7, 0.7)], ids=["isotropic", "native"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_head_up_right_side_left_front_up(name: str, spacing: tuple[float, float, float]) -> None:
    direction = DIRECTIONS[name]
    shape = (40, 56, 60)
    views = orthogonal_views(marked_crop(direction, spacing, shape), spacing, tuple(direction.ravel()))
    axial, coronal, sagittal = views
    assert [v.plane for v in views] == ["axial", "coronal", "sagittal"]
    assert sides_seen(axial) == axial.edges == ("A", "P", "R", "L")
    assert sides_seen(coronal) == coronal.edges == ("H", "F", "R", "L")
    assert sides_seen(sagittal) == sagittal.edges == ("H", "F", "A", "P")
    for view in views:
        middle = tuple(np.array(view.hu.shape) // 2)
        assert view.hu[middle] == 3000, "the centre voxel must be the middle pixel"


def test_axis_aligned_isotropic_values_are_untouched() -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 1000, (9, 11, 13), dtype=np.int16)
    axial, coronal, sagittal = orthogonal_views(hu, (0.7, 0.7, 0.7), tuple(np.eye(3).ravel()))
    np.testing.assert_array_equal(axial.hu, hu[4])
    np.testing.assert_array_equal(coronal.hu, hu[::-1, 5, :])
    np.testing.assert_array_equal(sagittal.hu, hu[::-1, :, 6])
    flipped = orthogonal_views(hu[:, ::-1, ::-1], (0.7, 0.7, 0.7), (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    for one, other in zip((axial, coronal, sagittal), flipped, strict=True):
        np.testing.assert_array_equal(one.hu, other.hu)


def test_even_sizes_are_cut_symmetrically_about_shape_over_two() -> None:
    hu = np.arange(4 * 6 * 8, dtype=np.int16).reshape(4, 6, 8)
    axial, coronal, _ = orthogonal_views(hu, (1, 1, 1), tuple(np.eye(3).ravel()))
    np.testing.assert_array_equal(axial.hu, hu[2, 1:6, 1:8])
    np.testing.assert_array_equal(coronal.hu, hu[3:0:-1, 3, 1:8])


def test_pixels_are_square_in_mm() -> None:
    """2.5 mm slices, 0.5 mm pixels: 9 slices reach 10 mm to each side, 41 columns too."""
    views = orthogonal_views(np.zeros((9, 41, 41), np.int16), (2.5, 0.5, 0.5), tuple(np.eye(3).ravel()))
    assert [v.hu.shape for v in views] == [(41, 41)] * 3
    assert {v.pixel_mm for v in views} == {0.5}


def test_slices_are_interpolated_linearly() -> None:
    hu = np.zeros((3, 3, 3), np.int16)
    hu[2] = 100
    _, coronal, _ = orthogonal_views(hu, (2.0, 1.0, 1.0), tuple(np.eye(3).ravel()))
    np.testing.assert_allclose(coronal.hu[:, 1], [100, 50, 0, 0, 0])


def test_outside_an_oblique_crop_is_air() -> None:
    direction = tuple(rotation(0, 0, 40).ravel())
    axial, _, _ = orthogonal_views(np.full((5, 31, 31), 40, np.int16), (1, 1, 1), direction)
    assert axial.hu[0, 0] == -1024
    assert axial.hu[15, 15] == 40


def test_window_maps_its_ends_to_black_and_white() -> None:
    view = View("axial", np.array([[-2000, -1000, -300, 400, 3000]], np.float32), 1.0, ("A", "P", "R", "L"))
    assert view.gray().tolist() == [[0, 0, 128, 255, 255]]
    assert view.gray((-300.0, 400.0)).tolist() == [[0, 0, 0, 255, 255]]


def test_impossible_crops_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"three axes \[D, H, W\], got shape \(4, 4\)"):
        orthogonal_views(np.zeros((4, 4), np.int16), (1, 1, 1), tuple(np.eye(3).ravel()))
    with pytest.raises(ScanError, match="direction must be orthonormal"):
        orthogonal_views(np.zeros((4, 4, 4), np.int16), (1, 1, 1), (1.0,) * 9)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_any_place_of_a_volume_is_the_middle_pixel(name: str) -> None:
    """HU = 10 x + 3 y - 2 z in world mm is linear, so trilinear samples of it are exact, between voxels too."""
    grid = Geometry((24, 30, 28), (-3.0, 5.0, 40.0), (0.8, 0.7, 1.9), tuple(DIRECTIONS[name].ravel()))
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape_zyx), indexing="ij"), -1)
    world = grid.index_to_world(index)
    hu = np.round(1000 * (world @ [10.0, 3.0, -2.0])).astype(np.int64)
    center = grid.index_to_world([10.3, 14.6, 12.9])
    for view in patient_views(hu, grid, center, reach_xyz_mm=(3.0, 2.0, 1.0), pixel_mm=0.5):
        rows, columns = view.hu.shape
        assert view.hu[rows // 2, columns // 2] / 1000 == pytest.approx(center @ [10.0, 3.0, -2.0], abs=0.01)
        across = {"axial": ("x", "y"), "coronal": ("x", "z"), "sagittal": ("y", "z")}[view.plane]
        assert (columns, rows) == tuple({"x": 13, "y": 9, "z": 5}[axis] for axis in across)
        right = {"x": 10.0, "y": 3.0}[across[0]] * 0.5
        assert view.hu[rows // 2, columns // 2 + 1] - view.hu[rows // 2, columns // 2] == pytest.approx(
            1000 * right, abs=9
        )


def test_beyond_the_volume_is_air() -> None:
    grid = Geometry((4, 4, 4), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    axial, _, _ = patient_views(np.zeros((4, 4, 4), np.int16), grid, (0, 0, 0), reach_xyz_mm=(2, 2, 2), pixel_mm=1)
    assert (axial.hu == 0).sum() == 9
    assert (axial.hu[:2] == -1024).all()
