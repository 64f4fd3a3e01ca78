"""A lung mask that came with the scan, on the store's grid; LUNA16's codes: 3 left lung, 4 right lung, 5 trachea."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.store.resample import resample_nearest

# Half of the finest pixels of LUNA16: a mask that is further off belongs to another scan.
_TOLERANCE_MM = 0.2


def read_given_mask(
    path: Path, source: Geometry, target: Geometry, *, read: Callable[[Path], Scan]
) -> npt.NDArray[np.uint8]:
    """The mask's codes on the grid `target`, each voxel that of the nearest one.

    Args:
        path: what `read` reads.
        source: grid of the scan, on which the mask must lie.
        target: `source.resampled(...)`, or `source` itself.
        read: reader of scans.

    Returns:
        uint8 of `target.shape_zyx`.

    Raises:
        ScanError: the mask lies on another grid than the scan, or holds codes that are not 0 to 255.
    """
    mask = read(path)
    first, last = [0, 0, 0], [n - 1 for n in source.shape_zyx]
    corners = [np.asarray(grid.index_to_world([first, last])) for grid in (source, mask.geometry)]
    if mask.geometry.shape_zyx != source.shape_zyx or np.abs(corners[0] - corners[1]).max() > _TOLERANCE_MM:
        raise ScanError(
            f"{path}: the mask has {mask.geometry.shape_zyx} voxels from {_rounded(corners[1][0])} mm, its scan "
            f"{source.shape_zyx} from {_rounded(corners[0][0])} mm; give the mask of this scan, or none"
        )
    if mask.hu.min() < 0 or mask.hu.max() > 255:
        raise ScanError(f"{path}: mask codes from {mask.hu.min()} to {mask.hu.max()}; they must lie in 0..255")
    codes = mask.hu.astype(np.uint8)
    return resample_nearest(codes, source, target)


def _rounded(point: npt.NDArray[np.float64]) -> list[float]:
    values: list[float] = np.round(point, 2).tolist()
    return values
