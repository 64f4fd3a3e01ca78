"""Preprocessing as a straightforward script does it, with SimpleITK, scipy and zarr's defaults: the baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import zarr
from scipy import ndimage

SPACING_MM = 1.0
CLIP_HU = (-1024, 3071)
AIR_BELOW_HU = -400
CLOSING_MM = 8


def simple_preprocess(path: Path, target: Path) -> None:
    """Read, clip, resample to 1 mm, draw a lung mask, write both arrays.

    Args:
        path: what SimpleITK reads.
        target: folder of a new zarr group with `hu` int16 and `lung_mask` uint8.
    """
    image = sitk.Clamp(sitk.ReadImage(str(path)), sitk.sitkInt16, *CLIP_HU)
    size = [max(1, round(n * s / SPACING_MM)) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    # The border repeats beyond the last voxel: a last slice of air would join the lungs to the air around the body.
    resampled = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), (SPACING_MM,) * 3, image.GetDirection(),
        CLIP_HU[0], sitk.sitkInt16, True,
    )  # fmt: skip
    hu = sitk.GetArrayFromImage(resampled)
    group = zarr.open_group(target, mode="w")
    group.create_array("hu", data=hu)
    group.create_array("lung_mask", data=_lung_mask(hu))


def _lung_mask(hu: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """The two largest volumes of air that do not reach the sides, closed and filled."""
    labels, count = ndimage.label(hu < AIR_BELOW_HU)
    outside = np.unique(np.concatenate([labels[:, side].ravel() for side in (0, -1)]))
    voxels = np.bincount(labels.ravel(), minlength=count + 1)
    voxels[outside] = 0
    voxels[0] = 0
    lungs = np.isin(labels, np.argsort(voxels)[-2:])
    closed = ndimage.binary_closing(lungs, iterations=CLOSING_MM)
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed]).astype(np.uint8)
