"""Where the annotated nodules lie in a crop: spheres around their centres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lungdet.geometry import Geometry


def spheres_in_crop(
    geometry: Geometry,
    center_xyz_mm: npt.ArrayLike,
    shape_zyx: Sequence[int],
    *,
    centers_xyz_mm: npt.ArrayLike,
    diameters_mm: npt.ArrayLike,
) -> npt.NDArray[np.bool_]:
    """Voxels of a crop whose middle lies within one of the spheres.

    Args:
        geometry: of the whole scan.
        center_xyz_mm: of the crop: the nearest voxel is element `shape // 2`, as `CtStore.crop` cuts it.
        shape_zyx: voxels of the crop.
        centers_xyz_mm: [N, 3], of the spheres.
        diameters_mm: [N]; a sphere without a known diameter (NaN) marks nothing.

    Returns:
        bool [D, H, W].
    """
    first = np.rint(geometry.world_to_index(center_xyz_mm)).astype(np.int64) - np.asarray(shape_zyx) // 2
    axes = [start + np.arange(n) for start, n in zip(first.tolist(), shape_zyx, strict=True)]
    voxels = geometry.index_to_world(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    inside = np.zeros(tuple(shape_zyx), np.bool_)
    spheres = zip(np.asarray(centers_xyz_mm, np.float64).reshape(-1, 3), np.asarray(diameters_mm), strict=True)
    for center, diameter in spheres:
        inside |= ((voxels - center) ** 2).sum(axis=-1) <= (diameter / 2) ** 2
    return inside
