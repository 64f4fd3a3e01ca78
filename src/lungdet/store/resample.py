"""Resampling to another spacing: CT linearly (OpenCV in the plane, then a blend along z), codes by the nearest voxel.

Linear agrees with SimpleITK's linear Resample on the same grid (`Geometry.resampled`, outer corners kept) to 1 HU.
There is no low-pass filter before downsampling, as there is none in SimpleITK's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lungdet.geometry import Geometry

IntArray = npt.NDArray[np.int16]
FloatPlane = npt.NDArray[np.float32]


def resample_linear(hu: IntArray, source: Geometry, target: Geometry) -> IntArray:
    """The volume on the grid `target = source.resampled(...)`.

    Args:
        hu: int16 [D, H, W] on the grid of `source`.
        source: where `hu` lies.
        target: same outer corner and directions, another spacing.

    Returns:
        int16 of `target.shape_zyx`, rounded to nearest; beyond the outermost voxel centres the border repeats.
    """
    if target == source:
        return hu
    out = np.empty(target.shape_zyx, np.int16)
    for plane, (low, high, weight) in zip(out, _neighbours(hu, source, target), strict=True):
        # Written as int16 by OpenCV, which rounds to the nearest even number as np.rint does.
        cv2.addWeighted(low, 1 - weight, high, weight, 0.0, dst=plane, dtype=cv2.CV_16S)
    return out


def resample_mask(mask: npt.NDArray[np.bool_], source: Geometry, target: Geometry) -> npt.NDArray[np.uint8]:
    """A mask on the grid `target = source.resampled(...)`: 1 where linear interpolation gives one half or more.

    Args:
        mask: bool [D, H, W] on the grid of `source`.
        source: where `mask` lies.
        target: same outer corner and directions, another spacing.

    Returns:
        uint8 of `target.shape_zyx`, 0 and 1.
    """
    if target == source:
        return mask.view(np.uint8)
    out = np.zeros(target.shape_zyx, np.uint8)
    blended = np.empty(target.shape_zyx[1:], np.int16)  # thousandths, a slice at a time
    for plane, (low, high, weight) in zip(out, _neighbours(mask * np.int16(1000), source, target), strict=True):
        cv2.addWeighted(low, 1 - weight, high, weight, 0.0, dst=blended, dtype=cv2.CV_16S)
        np.greater_equal(blended, 500, out=plane.view(bool))
    return out


def resample_nearest(codes: npt.NDArray[np.uint8], source: Geometry, target: Geometry) -> npt.NDArray[np.uint8]:
    """Codes on the grid `target = source.resampled(...)`, each voxel that of the nearest old one.

    Args:
        codes: uint8 [D, H, W] on the grid of `source`.
        source: where `codes` lies.
        target: same outer corner and directions, another spacing.

    Returns:
        uint8 of `target.shape_zyx`.
    """
    if target == source:
        return codes
    # Corner-aligned, as volumes are: new voxel n covers the old one at (n + 0.5) * step.
    nearest = [
        np.minimum(((np.arange(n) + 0.5) * t / s).astype(np.intp), m - 1)
        for n, t, s, m in zip(target.shape_zyx, target.spacing_zyx_mm, source.spacing_zyx_mm, codes.shape, strict=True)
    ]
    return codes[np.ix_(*nearest)]


def _neighbours(hu: IntArray, source: Geometry, target: Geometry) -> Iterator[tuple[FloatPlane, FloatPlane, float]]:
    """For each new slice the old ones below and above it, on the new in-plane grid, and the weight of the one above."""
    step_z, step_y, step_x = (t / s for t, s in zip(target.spacing_zyx_mm, source.spacing_zyx_mm, strict=True))
    # Corner-aligned: the centre of new voxel n lies at (n + 0.5) * step - 0.5 of the old index.
    positions = np.clip((np.arange(target.shape_zyx[0]) + 0.5) * step_z - 0.5, 0, hu.shape[0] - 1)
    planes: dict[int, FloatPlane] = {}
    for position in positions.tolist():
        low = int(position)
        high = min(low + 1, hu.shape[0] - 1)
        planes = {
            z: planes[z] if z in planes else _plane(hu[z], target.shape_zyx[1:], step_y, step_x) for z in (low, high)
        }
        yield planes[low], planes[high], position - low


def _plane(image: IntArray, shape: tuple[int, ...], step_y: float, step_x: float) -> npt.NDArray[np.float32]:
    """One slice on the new in-plane grid: float32 of `shape`."""
    pixels: npt.NDArray[Any] = image.astype(np.float32)
    if step_y != 1 or step_x != 1:
        # With fx and fy given, OpenCV takes the ratio from them and not from the rounded sizes, so nothing drifts.
        pixels = cv2.resize(pixels, None, fx=1 / step_x, fy=1 / step_y, interpolation=cv2.INTER_LINEAR)
    missing = [max(0, n - m) for n, m in zip(shape, pixels.shape, strict=True)]
    if any(missing):  # sizes at exactly .5 may round differently; the border repeats, as beyond any edge
        pixels = np.pad(pixels, [(0, n) for n in missing], mode="edge")
    return np.ascontiguousarray(pixels[: shape[0], : shape[1]])
