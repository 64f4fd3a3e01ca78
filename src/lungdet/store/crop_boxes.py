"""Where a crop lies in its volume: the voxels from its centre in millimetres, and what of it lies inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import StoreError
from lungdet.geometry import Geometry, world_to_index_each

# Of any volume, and so that sizes added to it are still counted exactly.
_FAR = 2.0**52


def finite_points(centers_xyz_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Points as float64 [N, 3], of one [3] or several [N, 3].

    Raises:
        StoreError: one that is not three finite numbers.
    """
    given = np.asarray(centers_xyz_mm, np.float64)
    if given.size and (given.ndim > 2 or given.shape[-1:] != (3,)):
        raise StoreError(f"the centre of a crop must be three finite numbers, x, y, z in mm; got shape {given.shape}")
    points = given.reshape(-1, 3)
    if not np.isfinite(points).all():
        wrong = points[~np.isfinite(points).all(axis=1)][0].tolist()
        raise StoreError(f"the centre of a crop must be three finite numbers, x, y, z in mm; got {wrong}")
    return points


def crop_starts(
    geometries: Sequence[Geometry], centers_xyz_mm: npt.NDArray[Any], shape: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Index of each crop's first voxel: int64 [N, 3], may be negative."""
    index = world_to_index_each(geometries, centers_xyz_mm)
    # What is further away would wrap around. (np.clip takes twice as long for one point.)
    centers = np.rint(np.minimum(np.maximum(index, -_FAR), _FAR)).astype(np.int64)
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
