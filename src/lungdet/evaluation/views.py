"""A CT crop as axial, coronal and sagittal pictures in the radiological convention, whatever the scan's direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lungdet.errors import ShapeError
from lungdet.geometry import Geometry

LUNG_WINDOW_HU = (-1000.0, 400.0)

# World axes (LPS: 0 = x to the patient's left, 1 = y to the back, 2 = z to the head) that run down and to the right of
# each picture, with their sign: the patient's right is on the left, the front on top, the head up.
PLANES: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[str, str, str, str]]] = {
    "axial": ((1, +1), (0, +1), ("A", "P", "R", "L")),
    "coronal": ((2, -1), (0, +1), ("H", "F", "R", "L")),
    "sagittal": ((2, -1), (1, +1), ("H", "F", "A", "P")),
}


@dataclass(frozen=True)
class View:
    """One picture through the centre of a crop.

    Attributes:
        plane: `axial`, `coronal` or `sagittal`.
        hu: float32 [rows, columns], both odd; the crop's centre is the middle pixel. Air where the crop has no voxels.
        pixel_mm: side of the square pixels.
        edges: letters of the patient side at the top, bottom, left and right: R, L, A, P, H(ead) or F(eet).
    """

    plane: str
    hu: npt.NDArray[np.float32]
    pixel_mm: float
    edges: tuple[str, str, str, str]

    def gray(self, window_hu: tuple[float, float] = LUNG_WINDOW_HU) -> npt.NDArray[np.uint8]:
        """uint8 [rows, columns]: `window_hu` mapped to 0..255, clipped."""
        low, high = window_hu
        scaled = np.clip((self.hu - low) / (high - low), 0.0, 1.0)
        levels: npt.NDArray[np.uint8] = np.round(scaled * 255).astype(np.uint8)
        return levels


def orthogonal_views(
    hu: npt.NDArray[np.integer], spacing_zyx_mm: Sequence[float], direction: Sequence[float], *, air_hu: float = -1024.0
) -> tuple[View, View, View]:
    """The three standard pictures through the centre voxel of a crop.

    The pictures are sampled (trilinear) on axes of the patient, not of the array, so flipped, permuted and oblique
    direction matrices all give the same standing. On an axis-aligned scan with isotropic voxels no value is changed.

    Args:
        hu: int16 [D, H, W]; the centre voxel is element [shape // 2], as `CtStore.crop` cuts it.
        spacing_zyx_mm: voxel spacing.
        direction: nine direction cosines, see `Geometry`.
        air_hu: what is shown where an oblique crop does not fill the picture.

    Returns:
        Axial, coronal, sagittal. Pixels are as fine as the finest voxel spacing; each picture reaches equally far to
        both sides of the centre, as far as the crop does.

    Raises:
        ShapeError: the crop is not three-dimensional.
        ScanError: spacing or direction are impossible, see `Geometry`.
    """
    if hu.ndim != 3:
        raise ShapeError(f"a CT crop has three axes [D, H, W], got shape {hu.shape}")
    d, h, w = hu.shape
    z, y, x = spacing_zyx_mm
    center_index = np.asarray(hu.shape) // 2
    grid = Geometry((d, h, w), (0.0, 0.0, 0.0), (x, y, z), tuple(direction))
    center_xyz_mm = grid.index_to_world(center_index)
    pixel_mm = float(min(spacing_zyx_mm))
    return patient_views(hu, grid, center_xyz_mm, reach_xyz_mm=_reach_xyz_mm(grid), pixel_mm=pixel_mm, air_hu=air_hu)


def patient_views(
    hu: npt.NDArray[np.integer],
    grid: Geometry,
    center_xyz_mm: npt.ArrayLike,
    *,
    reach_xyz_mm: npt.ArrayLike,
    pixel_mm: float,
    air_hu: float = -1024.0,
) -> tuple[View, View, View]:
    """The three standard pictures through any place of a volume, sampled (trilinear) on axes of the patient.

    Args:
        hu: integers [D, H, W].
        grid: where its voxels lie.
        center_xyz_mm: [3], world: the middle pixel of each picture; it need not be a voxel.
        reach_xyz_mm: [3], how far the pictures go from there along each world axis, to both sides.
        pixel_mm: side of the pixels.
        air_hu: what is shown where the volume has no voxels.

    Returns:
        Axial, coronal, sagittal.
    """
    reach_mm = np.asarray(reach_xyz_mm, dtype=np.float64)
    views = []
    for plane, ((row_axis, row_sign), (column_axis, column_sign), edges) in PLANES.items():
        rows = row_sign * _offsets_mm(reach_mm[row_axis], pixel_mm)
        columns = column_sign * _offsets_mm(reach_mm[column_axis], pixel_mm)
        points = np.zeros((rows.size, columns.size, 3))
        points[..., row_axis] = rows[:, None]
        points[..., column_axis] = columns[None, :]
        # Rounded to a millionth of a voxel: a sample must not fall off the last voxel by a rounding error.
        index = np.round(grid.world_to_index(points + np.asarray(center_xyz_mm)), 6)
        picture = ndimage.map_coordinates(
            hu, np.moveaxis(index, -1, 0), order=1, mode="constant", cval=air_hu, output=np.float32, prefilter=False
        )
        views.append(View(plane, picture, pixel_mm, edges))
    axial, coronal, sagittal = views
    return axial, coronal, sagittal


def _reach_xyz_mm(grid: Geometry) -> npt.NDArray[np.float64]:
    # How far the crop goes to the nearer side of its centre voxel, along the index axis closest to each world axis.
    shape_xyz = np.asarray(grid.shape_zyx[::-1])
    voxels = np.minimum(shape_xyz // 2, shape_xyz - 1 - shape_xyz // 2)
    closest = np.abs(np.asarray(grid.direction).reshape(3, 3)).argmax(axis=1)
    reach: npt.NDArray[np.float64] = (voxels * np.asarray(grid.spacing_xyz_mm))[closest]
    return reach


def _offsets_mm(reach_mm: float, pixel_mm: float) -> npt.NDArray[np.float64]:
    n = int(reach_mm / pixel_mm + 1e-6)
    offsets: npt.NDArray[np.float64] = np.arange(-n, n + 1, dtype=np.float64) * pixel_mm
    return offsets
