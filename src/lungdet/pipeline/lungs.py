"""Where to look: the lungs of a scan, a search region around them, and how far a point is from the pleura."""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.pipeline.box import Box, bounding_box
from lungdet.pipeline.components import erode_once
from lungdet.store.lung_mask import lung_mask

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SearchRegion:
    """Where candidates may lie, on one grid.

    Attributes:
        box: the smallest box around the region, in voxels of the grid.
        inside: bool [d, h, w] of the box: centre of a candidate allowed here.
    """

    box: Box
    inside: BoolArray


class Lungs:
    """The lungs of one scan.

    Args:
        mask: bool [D, H, W], at least one voxel True.
        geometry: where the mask lies.
    """

    def __init__(self, mask: BoolArray, geometry: Geometry) -> None:
        box = bounding_box(mask)
        assert box is not None, "find_lungs returns None for an empty mask"
        self.geometry = geometry
        self.box = box
        self.mask = mask[box.slices]  # only the box is kept
        self.volume_ml = float(self.mask.sum()) * float(np.prod(geometry.spacing_zyx_mm)) / 1000.0

    def search_region(self, margin_mm: float) -> SearchRegion:
        """The lungs and everything nearer to them than the margin: nodules of the pleura bulge out of the mask."""
        spacing = self.geometry.spacing_zyx_mm
        z, y, x = (int(margin_mm / s) for s in spacing)
        box = self.box.grown((z, y, x), shape_zyx=self.geometry.shape_zyx)
        padding = [
            (own - low, high - end)
            for own, end, low, high in zip(self.box.low_zyx, self.box.high_zyx, box.low_zyx, box.high_zyx, strict=True)
        ]
        inside = np.pad(self.mask, padding)
        if margin_mm > 0:
            inside = edt.edt(~inside, anisotropy=spacing, parallel=0) <= margin_mm
        return SearchRegion(box, inside)

    def depth_mm(self, center_xyz_mm: FloatArray) -> FloatArray:
        """Distance of points to the surface of the lungs: towards the pleura, a fissure's mediastinal end or the hilum.

        Args:
            center_xyz_mm: float64 [N, 3], world.

        Returns:
            float64 [N], mm from the nearest surface voxel's centre, negative outside the lungs.
        """
        if len(center_xyz_mm) == 0:
            return np.empty(0)
        origin = np.asarray(self.box.low_zyx)
        padded = np.pad(self.mask, 1)  # lungs end where the scan ends
        surface = padded & ~erode_once(padded)
        points = np.argwhere(surface[1:-1, 1:-1, 1:-1]) + origin
        spacing = np.asarray(self.geometry.spacing_zyx_mm)
        index = self.geometry.world_to_index(center_xyz_mm)
        tree = cKDTree(points * spacing, balanced_tree=False, compact_nodes=False)
        distance, _ = tree.query(index * spacing)
        voxel = np.rint(index).astype(np.int64) - origin
        within = np.all((voxel >= 0) & (voxel < self.mask.shape), axis=1)
        is_inside = np.zeros(len(voxel), dtype=bool)
        is_inside[within] = self.mask[tuple(voxel[within].T)]
        signed: FloatArray = np.where(is_inside, distance, -distance)
        return signed

    def on_grid(self, target: Geometry) -> Lungs:
        """The same lungs on a resampled grid (`Geometry.resampled` of this one), by nearest voxels."""
        if target == self.geometry:
            return self
        whole = np.zeros(self.geometry.shape_zyx, dtype=bool)
        whole[self.box.slices] = self.mask
        nearest = [
            ((np.arange(new) + 0.5) * n / o).astype(np.int64).clip(0, old - 1)
            for new, old, n, o in zip(
                target.shape_zyx,
                self.geometry.shape_zyx,
                target.spacing_zyx_mm,
                self.geometry.spacing_zyx_mm,
                strict=True,
            )
        ]
        return Lungs(whole[np.ix_(*nearest)], target)


def find_lungs(scan: Scan) -> Lungs | None:
    """Segment the lungs by their density; None where there are none."""
    mask = lung_mask(scan.hu, scan.geometry).view(bool)
    return Lungs(mask, scan.geometry) if mask.any() else None
