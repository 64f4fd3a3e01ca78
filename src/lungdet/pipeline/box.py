"""Axis-aligned boxes of voxels, and the geometry of what they cut out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lungdet.geometry import Geometry

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Box:
    """Voxels from `low_zyx` to `high_zyx` (exclusive)."""

    low_zyx: Triple
    high_zyx: Triple

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """To cut the box out of an array."""
        z, y, x = (slice(low, high) for low, high in zip(self.low_zyx, self.high_zyx, strict=True))
        return z, y, x

    @property
    def shape_zyx(self) -> Triple:
        """Number of voxels along each axis."""
        z, y, x = (high - low for low, high in zip(self.low_zyx, self.high_zyx, strict=True))
        return z, y, x

    def grown(self, margin_zyx: Triple, *, shape_zyx: Triple) -> Box:
        """The box with a margin on every side, cut at the border of the volume."""
        low = [max(0, a - m) for a, m in zip(self.low_zyx, margin_zyx, strict=True)]
        high = [min(n, b + m) for b, m, n in zip(self.high_zyx, margin_zyx, shape_zyx, strict=True)]
        return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def geometry(self, whole: Geometry) -> Geometry:
        """Where the voxels of the box lie, given the geometry of the whole volume."""
        x, y, z = whole.index_to_world(np.asarray(self.low_zyx, dtype=np.float64)).tolist()
        return replace(whole, shape_zyx=self.shape_zyx, origin_xyz_mm=(x, y, z))


def whole_volume(shape_zyx: Triple) -> Box:
    """The box that cuts nothing off."""
    return Box((0, 0, 0), shape_zyx)


def bounding_box(mask: npt.NDArray[np.bool_]) -> Box | None:
    """Smallest box that holds all True voxels of a mask [D, H, W]; None for an empty mask."""
    low, high = [], []
    plane = np.any(mask, axis=0)  # one pass over the volume, the other two axes from the projection
    for hits in (np.any(mask, axis=(1, 2)), np.any(plane, axis=1), np.any(plane, axis=0)):
        where = np.flatnonzero(hits)
        if len(where) == 0:
            return None
        low.append(int(where[0]))
        high.append(int(where[-1]) + 1)
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))
