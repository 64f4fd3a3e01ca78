"""A lung mask from Hounsfield units alone, at about 2 mm: air that is inside the body, large, and closed.

Made for limiting a search to the lungs, not for measuring them: the trachea and the main bronchi may be part of it, and
a closing of 8 mm keeps nodules on the pleura inside.
"""

from __future__ import annotations

import logging

import cc3d
import cv2
import edt
import numpy as np
import numpy.typing as npt

from lungdet.geometry import Geometry
from lungdet.store.resample import resample_linear

log = logging.getLogger(__name__)

#: Between lung (-850) and soft tissue (0).
AIR_BELOW_HU = -400
#: Resolution at which the mask is computed; its Dice with the same at 1 mm is in docs/store.md.
WORKING_MM = 2.0
CLOSING_MM = 8.0
#: A component of air is lung when it has this share of the largest one's volume.
LEAST_SHARE = 0.1
#: Bowel gas and noise are smaller than this, lungs of a miniature phantom larger.
LEAST_ML = 20.0

BoolArray = npt.NDArray[np.bool_]


def lung_mask(hu: npt.NDArray[np.int16], geometry: Geometry) -> npt.NDArray[np.uint8]:
    """The lungs of a chest CT.

    Args:
        hu: int16 [D, H, W].
        geometry: where it lies.

    Returns:
        uint8 [D, H, W], 1 inside the lungs; all 0, with a logged warning, where none are found.
    """
    spacing = tuple(max(WORKING_MM, s) for s in geometry.spacing_zyx_mm)
    coarse = geometry.resampled((spacing[0], spacing[1], spacing[2]))
    air = resample_linear(hu, geometry, coarse) < AIR_BELOW_HU
    lungs = _large_components(air & ~_outside(air), float(np.prod(spacing)) / 1000)
    if not lungs.any():
        log.warning("no lungs found: no large volume of air inside the body; the lung mask is empty")
        return np.zeros(hu.shape, np.uint8)
    return _enlarge(_fill(_close(lungs, spacing)), hu.shape)


def _outside(air: BoolArray) -> BoolArray:
    """Air that reaches a side of the image in its own slice: around the body, under the table, padding.

    Slice by slice, because lungs reach the first or the last slice and the trachea opens to the outside in 3-D.
    """
    outside = np.zeros_like(air)
    for z, plane in enumerate(air):
        _, labels = cv2.connectedComponents(plane.astype(np.uint8), connectivity=4)
        edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        touching = np.zeros(labels.max() + 1, bool)
        touching[edge] = True
        touching[0] = False
        outside[z] = touching[labels]
    return outside


def _large_components(inside: BoolArray, voxel_ml: float) -> BoolArray:
    labels = cc3d.connected_components(inside, connectivity=6)
    volumes = np.bincount(labels.ravel()) * voxel_ml
    volumes[0] = 0
    kept = volumes >= max(LEAST_ML, LEAST_SHARE * volumes.max())
    found: BoolArray = kept[labels]
    return found


def _close(mask: BoolArray, spacing: tuple[float, ...]) -> BoolArray:
    """Closing by a ball of 8 mm through distance maps; the image is continued by empty space for it."""
    pad = [int(np.ceil(CLOSING_MM / s)) + 1 for s in spacing]
    padded = np.pad(mask, [(p, p) for p in pad])
    grown = edt.edt(~padded, anisotropy=spacing, parallel=1) <= CLOSING_MM
    closed = edt.edt(grown, anisotropy=spacing, parallel=1) > CLOSING_MM
    inner = tuple(slice(p, p + n) for p, n in zip(pad, mask.shape, strict=True))
    result: BoolArray = closed[inner] | mask
    return result


def _fill(mask: BoolArray) -> BoolArray:
    """Fill what each slice encloses: vessels and nodules in the middle of the lung."""
    filled = np.empty_like(mask)
    for z, plane in enumerate(mask):
        background = np.pad(~plane, 1, constant_values=True).astype(np.uint8)
        _, labels = cv2.connectedComponents(background, connectivity=4)
        filled[z] = labels[1:-1, 1:-1] != labels[0, 0]
    return filled


def _enlarge(mask: BoolArray, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Back to the full grid by linear interpolation and a threshold of one half."""
    planes = np.stack(
        [cv2.resize(p.astype(np.float32), (shape[2], shape[1]), interpolation=cv2.INTER_LINEAR) for p in mask]
    )
    positions = np.clip((np.arange(shape[0]) + 0.5) * mask.shape[0] / shape[0] - 0.5, 0, mask.shape[0] - 1)
    out = np.empty(shape, np.uint8)
    for n, position in enumerate(positions):
        low = int(position)
        high = min(low + 1, mask.shape[0] - 1)
        out[n] = cv2.addWeighted(planes[low], 1 - (position - low), planes[high], position - low, 0.0) >= 0.5
    return out
