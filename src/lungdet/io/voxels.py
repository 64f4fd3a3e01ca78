"""What every image format has to pass before it is a CT volume: whole Hounsfield units in int16, and a real grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import ScanError
from lungdet.geometry import Geometry

HuArray = npt.NDArray[np.int16]

_INT16 = np.iinfo(np.int16)


def as_hu(values: npt.NDArray[Any], path: Path) -> HuArray:
    """Stored values as int16 Hounsfield units; rounded, never truncated, never wrapped.

    Args:
        values: [D, H, W] of any real dtype, already rescaled to HU.
        path: the file they come from, for the error text.

    Returns:
        int16 [D, H, W], C-contiguous and writable; the input itself where it already is all that.

    Raises:
        ScanError: complex or structured values, NaN or infinite values, values beyond -32768..32767.
    """
    if values.dtype == np.int16:
        return np.require(values, np.int16, ["C", "W"])
    if values.dtype.kind not in "biuf":
        raise ScanError(f"{path}: voxels are {values.dtype}; a CT has one real number per voxel")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise ScanError(
            f"{path}: {count} of {values.size} voxels are NaN or infinite; give them a HU value and save again"
        )
    low, high = float(values.min()), float(values.max())
    if np.rint(low) < _INT16.min or np.rint(high) > _INT16.max:
        raise ScanError(
            f"{path}: {values.dtype} values from {low:g} to {high:g} do not fit int16 ({_INT16.min} to {_INT16.max}); "
            "convert them to Hounsfield units first (stored value * slope + intercept)"
        )
    rounded = np.rint(values) if values.dtype.kind == "f" else values
    return np.ascontiguousarray(rounded, dtype=np.int16)


def geometry_of(
    path: Path,
    shape_zyx: tuple[int, ...],
    *,
    origin_xyz_mm: tuple[float, ...],
    spacing_xyz_mm: tuple[float, ...],
    direction: tuple[float, ...],
) -> Geometry:
    """`Geometry` of one file; its complaints carry the file name.

    Raises:
        ScanError: not three axes, or any value that `Geometry` refuses.
    """
    depth, height, width = check_dimensions(path, shape_zyx)
    x, y, z = origin_xyz_mm
    dx, dy, dz = spacing_xyz_mm
    try:
        return Geometry((depth, height, width), (x, y, z), (dx, dy, dz), direction)
    except ScanError as error:
        raise ScanError(f"{path}: {error}; correct the header or export the scan again") from error


def check_dimensions(path: Path, shape_zyx: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape itself; raises ScanError unless it has three axes."""
    if len(shape_zyx) != 3:
        kind = "a picture" if len(shape_zyx) < 3 else "several volumes"
        raise ScanError(
            f"{path}: the image has {len(shape_zyx)} dimensions, sizes {tuple(shape_zyx[::-1])} ({kind}); "
            "lungdet reads one volume of three dimensions per file"
        )
    depth, height, width = shape_zyx
    return depth, height, width


def check_channels(path: Path, channels: int) -> None:
    """Raises ScanError when a voxel holds more than one number."""
    if channels != 1:
        raise ScanError(
            f"{path}: {channels} values per voxel (a colour or vector image); "
            "a CT has one: export it as grey values in HU"
        )
