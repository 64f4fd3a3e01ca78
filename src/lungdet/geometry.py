"""World millimetres <-> voxel indices, with full direction cosines: the only place where axes are reversed.

World points are (x, y, z) in mm, LPS, as SimpleITK and the LUNA16 tables give them. Arrays and voxel indices are
(z, y, x). Everything that crosses from one to the other goes through `Geometry`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import ScanError

FloatArray = npt.NDArray[np.float64]

# Direction cosines as scanners write them carry 6 to 7 significant digits; anything further off is not a rotation.
_ORTHONORMAL_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of one volume lie in the patient.

    Attributes:
        shape_zyx: number of voxels along each array axis, all >= 1.
        origin_xyz_mm: world position of the centre of voxel (0, 0, 0).
        spacing_xyz_mm: distance of neighbouring voxel centres along the index axes x, y, z, all > 0.
        direction: nine numbers, row-major 3 x 3 as `SimpleITK.Image.GetDirection` returns them; column k is the unit
            world vector along index axis k (x, y, z). Orthonormal; either handedness is allowed.

    Raises:
        ScanError: a size < 1, a spacing that is not a positive number, an origin that is not finite, or a direction
            that is not orthonormal to 1e-4.

    Example:
        >>> g = Geometry((10, 20, 30), (-100.0, -80.0, 5.0), (0.5, 0.5, 2.0))
        >>> g.index_to_world([0, 0, 0]).tolist()
        [-100.0, -80.0, 5.0]
        >>> g.world_to_index([-99.0, -80.0, 9.0]).tolist()
        [2.0, 0.0, 2.0]
    """

    shape_zyx: tuple[int, int, int]
    origin_xyz_mm: tuple[float, float, float]
    spacing_xyz_mm: tuple[float, float, float]
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        # Parsed once at the boundary, so that JSON lists, numpy scalars and tuples all give one comparable value.
        object.__setattr__(self, "shape_zyx", tuple(int(n) for n in self.shape_zyx))
        for name in ("origin_xyz_mm", "spacing_xyz_mm", "direction"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if len(self.shape_zyx) != 3 or min(self.shape_zyx) < 1:
            raise ScanError(f"shape_zyx must be three sizes >= 1, got {self.shape_zyx}")
        if len(self.spacing_xyz_mm) != 3 or not all(np.isfinite(s) and s > 0 for s in self.spacing_xyz_mm):
            raise ScanError(f"spacing_xyz_mm must be three positive numbers, got {self.spacing_xyz_mm}")
        if len(self.origin_xyz_mm) != 3 or not np.all(np.isfinite(self.origin_xyz_mm)):
            raise ScanError(f"origin_xyz_mm must be three finite numbers, got {self.origin_xyz_mm}")
        if len(self.direction) != 9:
            raise ScanError(f"direction must have 9 numbers (3 x 3, row-major), got {len(self.direction)}")
        cosines = np.asarray(self.direction).reshape(3, 3)
        error = np.abs(cosines.T @ cosines - np.eye(3)).max()
        if not error <= _ORTHONORMAL_TOLERANCE:
            raise ScanError(f"direction must be orthonormal; D^T D is {error:.2g} away from identity: {self.direction}")

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float]:
        """Voxel spacing in array order."""
        x, y, z = self.spacing_xyz_mm
        return (z, y, x)

    @property
    def size_zyx_mm(self) -> tuple[float, float, float]:
        """Physical extent of the volume, outer voxel face to outer voxel face, in array order."""
        z, y, x = (n * s for n, s in zip(self.shape_zyx, self.spacing_zyx_mm, strict=True))
        return (z, y, x)

    def index_to_world(self, index_zyx: npt.ArrayLike) -> FloatArray:
        """World position of (fractional) voxel indices.

        Args:
            index_zyx: [..., 3], order z, y, x; integers are voxel centres.

        Returns:
            float64 [..., 3], order x, y, z, mm.
        """
        index_xyz = np.asarray(index_zyx, dtype=np.float64)[..., ::-1]
        offset: FloatArray = index_xyz * np.asarray(self.spacing_xyz_mm) @ self._cosines().T
        points: FloatArray = offset + np.asarray(self.origin_xyz_mm)
        return points

    def world_to_index(self, points_xyz_mm: npt.ArrayLike) -> FloatArray:
        """Fractional voxel index of world points; nothing is rounded or clamped.

        Args:
            points_xyz_mm: [..., 3], order x, y, z, mm.

        Returns:
            float64 [..., 3], order z, y, x.
        """
        offset = np.asarray(points_xyz_mm, dtype=np.float64) - np.asarray(self.origin_xyz_mm)
        # The inverse of an orthonormal matrix is its transpose: p @ D is D^T p for row vectors.
        index_xyz = offset @ self._cosines() / np.asarray(self.spacing_xyz_mm)
        return np.ascontiguousarray(index_xyz[..., ::-1])

    def contains(self, points_xyz_mm: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether each world point lies within the outer voxel faces: bool [...]."""
        index = self.world_to_index(points_xyz_mm)
        inside: npt.NDArray[np.bool_] = np.all((index >= -0.5) & (index <= np.asarray(self.shape_zyx) - 0.5), axis=-1)
        return inside

    def resampled(self, spacing_zyx_mm: tuple[float, float, float]) -> Geometry:
        """The grid of another spacing that covers the same physical box.

        The outer corner of voxel (0, 0, 0) stays where it is (not its centre), so the content does not shift by a
        fraction of a voxel; the number of voxels is the extent divided by the spacing, rounded, at least 1.

        Raises:
            ScanError: a spacing that is not three positive numbers.
        """
        spacing_xyz = np.asarray(spacing_zyx_mm[::-1], dtype=np.float64)
        if spacing_xyz.shape != (3,) or not np.all(np.isfinite(spacing_xyz) & (spacing_xyz > 0)):
            raise ScanError(f"spacing_zyx_mm must be three positive numbers, got {tuple(spacing_zyx_mm)}")
        shift = self._cosines() @ ((spacing_xyz - np.asarray(self.spacing_xyz_mm)) / 2)
        sizes = [max(1, round(mm / s)) for mm, s in zip(self.size_zyx_mm, spacing_zyx_mm, strict=True)]
        return Geometry(
            (sizes[0], sizes[1], sizes[2]),
            tuple(np.asarray(self.origin_xyz_mm) + shift),
            tuple(spacing_xyz),
            self.direction,
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `Geometry.from_dict` gives the same value back, bit for bit."""
        return {
            "shape_zyx": list(self.shape_zyx),
            "origin_xyz_mm": list(self.origin_xyz_mm),
            "spacing_xyz_mm": list(self.spacing_xyz_mm),
            "direction": list(self.direction),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Geometry:
        """Inverse of `to_dict`."""
        names = ("shape_zyx", "origin_xyz_mm", "spacing_xyz_mm", "direction")
        return cls(*(tuple(record[name]) for name in names))

    def _cosines(self) -> FloatArray:
        return np.asarray(self.direction).reshape(3, 3)


def world_to_index_each(geometries: Sequence[Geometry], points_xyz_mm: npt.ArrayLike) -> FloatArray:
    """Point n in the grid of `geometries[n]`: what N calls of `world_to_index` give, at a tenth of their cost.

    Args:
        geometries: N grids.
        points_xyz_mm: [N, 3], order x, y, z, mm.

    Returns:
        float64 [N, 3], order z, y, x; nothing is rounded or clamped.
    """
    origin = np.array([g.origin_xyz_mm for g in geometries]).reshape(-1, 3)
    spacing = np.array([g.spacing_xyz_mm for g in geometries]).reshape(-1, 3)
    cosines = np.array([g.direction for g in geometries]).reshape(-1, 3, 3)
    offset = np.asarray(points_xyz_mm, dtype=np.float64) - origin
    index_xyz = (offset[:, None, :] @ cosines)[:, 0] / spacing
    return np.ascontiguousarray(index_xyz[:, ::-1])
