"""Where a crop lies in its volume: the voxels from its centre in millimetres, and what of it lies inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import StoreError
from lungdet.geometry import Geometry, world_to_index_each


def finite_points(centers_xyz_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Points as float64 [N, 3].

    Raises:
        StoreError: one that is not three finite numbers.
    """
    points = np.asarray(centers_xyz_mm, np.float64).reshape(-1, 3)
    if not np.isfinite(points).all():
        wrong = points[~np.isfinite(points).all(axis=1)][0].tolist()
        raise StoreError(f"the centre of a crop must be three finite numbers, x, y, z in mm; got {wrong}")
    return points


def crop_starts(
    geometries: Sequence[Geometry], centers_xyz_mm: npt.NDArray[Any], shape: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Index of each crop's first voxel: int64 [N, 3], may be negative."""
    centers = np.rint(world_to_index_each(geometries, centers_xyz_mm)).astype(np.int64)
    starts: npt.NDArray[np.int64] = centers - np.asarray(shape) // 2
    return starts


def crop_overlap(
    start: Sequence[int], shape: Sequence[int], whole: Sequence[int]
) -> tuple[list[int], tuple[slice, slice, slice]]:
    """The part of a box that lies inside the volume: its first voxel there, and where in the box it goes.

    A box that lies outside altogether has an empty part.
    """
    low = [max(0, b) for b in start]
    z, y, x = (
        slice(first - b, max(first, min(n, b + m)) - b) for first, b, m, n in zip(low, start, shape, whole, strict=True)
    )
    return low, (z, y, x)
