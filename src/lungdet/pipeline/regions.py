"""Which voxels a finding covers: what was segmented, or a ball where nothing was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lungdet.geometry import Geometry

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """The voxels of one finding on the scan's own grid.

    Attributes:
        low_zyx: index of the mask's first voxel in the scan.
        mask: bool [d, h, w], inside the scan altogether, at least one voxel True.
        made_by: "segmentation": what a network marked; "ball": a ball of the finding's diameter around its centre.
    """

    low_zyx: tuple[int, int, int]
    mask: BoolArray
    made_by: Literal["segmentation", "ball"]

    def on_grid(self, source: Geometry, target: Geometry) -> Region:
        """The same voxels on the scan's own grid, each that of the nearest one; at least one stays.

        Args:
            source: the grid the region lies on, `target.resampled(...)`.
            target: the scan's.
        """
        if source == target:
            return self
        low, inside = [], []
        for first, n, size, own, other in zip(
            self.low_zyx, self.mask.shape, target.shape_zyx, target.spacing_zyx_mm, source.spacing_zyx_mm, strict=True
        ):
            # Corner-aligned: target voxel k lies in source voxel (k + 0.5) * own / other, rounded down.
            position = ((np.arange(size) + 0.5) * own / other).astype(np.int64) - first
            within = np.flatnonzero((position >= 0) & (position < n))
            if len(within) == 0:  # coarser than the region: the voxel that holds its middle
                within = np.array([min(size - 1, int((first + n / 2) * other / own))])
            low.append(int(within[0]))
            inside.append(position[within].clip(0, n - 1))
        mask = self.mask[np.ix_(*inside)]
        if not mask.any():
            mask = np.ones_like(mask)
        return Region((low[0], low[1], low[2]), mask, self.made_by)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To address the region's box in an array of the scan's shape."""
        z, y, x = (slice(low, low + n) for low, n in zip(self.low_zyx, self.mask.shape, strict=True))
        return z, y, x


def ball(geometry: Geometry, center_xyz_mm: npt.ArrayLike, diameter_mm: float) -> Region:
    """The voxels whose centres lie in a ball; at least the one nearest to its centre.

    Args:
        geometry: of the scan.
        center_xyz_mm: [3], world; a place outside the scan is moved to its nearest voxel.
        diameter_mm: 0 or more; NaN stands for 0.
    """
    shape = np.asarray(geometry.shape_zyx)
    center = np.clip(geometry.world_to_index(np.asarray(center_xyz_mm, dtype=np.float64)), 0, shape - 1)
    spacing = np.asarray(geometry.spacing_zyx_mm)
    radius_mm = 0.0 if np.isnan(diameter_mm) else diameter_mm / 2
    nearest = np.rint(center).astype(np.int64)
    low = np.minimum(nearest, np.ceil(center - radius_mm / spacing).astype(np.int64)).clip(0)
    high = np.minimum(np.maximum(nearest, np.floor(center + radius_mm / spacing).astype(np.int64)), shape - 1)
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    offsets = [((axis - c) * s) ** 2 for axis, c, s in zip(axes, center, spacing, strict=True)]
    squared = offsets[0][:, None, None] + offsets[1][None, :, None] + offsets[2][None, None, :]
    mask = squared <= radius_mm**2
    mask[tuple(nearest - low)] = True
    z, y, x = low.tolist()
    return Region((z, y, x), mask, "ball")
