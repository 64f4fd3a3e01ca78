"""A lung mask from Hounsfield units alone, at about 2 mm: air that is inside the body, large, and closed.

Made for limiting a search to the lungs, not for measuring them: trachea and main bronchi stay where they are connected
to the lungs, and a closing of 8 mm keeps nodules on the pleura inside.
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

#: Half-way between lung (-850) and soft tissue (+40), where the border of a blurred lung lies.
AIR_BELOW_HU = -400
#: Resolution at which the mask is computed; its Dice with the same at 1 mm is in docs/store.md.
WORKING_MM = 2.0
CLOSING_MM = 8.0
#: A component of air is lung when it has this share of the largest one's volume: a collapsed lung has, bowel has not.
LEAST_SHARE = 0.1
#: Noise and small airways are smaller than this, the lungs of a miniature phantom larger.
LEAST_ML = 20.0
#: Gas in the bowel and air around the patient are darker in the median than this; lungs, emphysema included, are not.
GAS_BELOW_HU = -960
#: What reaches a side of the image is lung, cut off by the field of view, only if it is as dense as lungs usually are
#: and lies within the outline of the body: the inside of a table can be as dense, but lies below.
LUNG_ABOVE_HU = -900
LEAST_SHARE_IN_BODY = 0.7

BoolArray = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer]


def lung_mask(hu: npt.NDArray[np.int16], geometry: Geometry) -> npt.NDArray[np.uint8]:
    """The lungs of a chest CT.

    Args:
        hu: int16 [D, H, W], padding outside the field of view clipped to air.
        geometry: where it lies.

    Returns:
        uint8 [D, H, W], 1 inside the lungs; all 0, with a logged warning, where none are found.
    """
    spacing = tuple(max(WORKING_MM, s) for s in geometry.spacing_zyx_mm)
    coarse_geometry = geometry.resampled((spacing[0], spacing[1], spacing[2]))
    coarse = resample_linear(hu, geometry, coarse_geometry)
    lungs = _lungs(coarse, spacing)
    if lungs is None:
        log.warning("no lungs found: no large volume of air inside the body; the lung mask is empty")
        return np.zeros(hu.shape, np.uint8)
    box = _margin(lungs, spacing)
    lungs[box] = _fill(_close(lungs[box], spacing))
    if coarse_geometry == geometry:
        return lungs.view(np.uint8)
    # Back to the full grid: linear interpolation and a threshold of one half.
    full: npt.NDArray[np.uint8] = (resample_linear(lungs * np.int16(1000), coarse_geometry, geometry) >= 500).view(
        np.uint8
    )
    return full


def _lungs(coarse: npt.NDArray[np.int16], spacing: tuple[float, ...]) -> BoolArray | None:
    """The components of air that are lungs; None where there are none."""
    # Padding has the lowest value of all. It counts as border, so that a lung which the round field of view cuts off
    # is not one component with everything outside.
    padding = coarse <= coarse.min() + 2
    labels: Labels = cc3d.connected_components((coarse < AIR_BELOW_HU) & ~padding, connectivity=6)
    voxels = np.bincount(labels.ravel())
    touching = _contact(labels, padding, len(voxels))
    volume_ml = voxels * float(np.prod(spacing)) / 1000
    volume_ml[0] = 0
    keep = np.zeros(len(voxels), bool)
    largest_ml = 0.0
    for label in sorted(np.flatnonzero(volume_ml >= LEAST_ML), key=lambda n: -voxels[n]):
        if volume_ml[label] < LEAST_SHARE * largest_ml:
            break
        component = labels == label
        least_hu = LUNG_ABOVE_HU if touching[label] else GAS_BELOW_HU
        if np.median(coarse[component]) >= least_hu and (not touching[label] or _in_body(component, coarse)):
            keep[label] = True
            largest_ml = max(largest_ml, float(volume_ml[label]))
    return keep[labels] if keep.any() else None


def _contact(labels: Labels, padding: BoolArray, count: int) -> npt.NDArray[np.int64]:
    """Voxels of each component on a side of the image or beside padding, not counting the first and the last slice.

    The lungs of a partial scan are cut off there, so it says nothing.
    """
    sides = [labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]]
    for axis in (1, 2):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(0, -1), slice(1, None)
        sides += [labels[tuple(low)][padding[tuple(high)]], labels[tuple(high)][padding[tuple(low)]]]
    return sum((np.bincount(side.ravel(), minlength=count) for side in sides), np.zeros(count, np.int64))


def _in_body(component: BoolArray, coarse: npt.NDArray[np.int16]) -> bool:
    """Whether most of the component lies in the convex outline of the largest piece of tissue, slice by slice."""
    body = cc3d.largest_k(coarse > AIR_BELOW_HU, k=1, connectivity=6) > 0
    inside = 0
    for tissue, part in zip(body, component, strict=True):
        points = cv2.findNonZero(tissue.view(np.uint8))
        if points is None or not part.any():
            continue
        outline = cv2.fillConvexPoly(np.zeros(part.shape, np.uint8), cv2.convexHull(points), 1)
        inside += int(outline[part].sum())
    return bool(inside >= LEAST_SHARE_IN_BODY * component.sum())


def _margin(mask: BoolArray, spacing: tuple[float, ...]) -> tuple[slice, ...]:
    """The bounding box of the mask and room for the closing around it."""
    box = []
    for axis, step in enumerate(spacing):
        others = tuple(a for a in range(3) if a != axis)
        filled = np.flatnonzero(mask.any(axis=others))
        room = int(np.ceil(CLOSING_MM / step)) + 1
        box.append(slice(max(0, filled[0] - room), filled[-1] + 1 + room))
    return tuple(box)


def _close(mask: BoolArray, spacing: tuple[float, ...]) -> BoolArray:
    """Closing by a ball of 8 mm through squared distance maps; beyond the image the mask goes on as it ends."""
    reach = CLOSING_MM**2
    grown = edt.edtsq(np.ascontiguousarray(~mask), anisotropy=spacing, parallel=1) <= reach
    closed: BoolArray = edt.edtsq(grown, anisotropy=spacing, parallel=1) > reach
    return closed


def _fill(mask: BoolArray) -> BoolArray:
    """Fill what the mask encloses on all sides: nodules and vessels too thick for the closing."""
    labels: Labels = cc3d.connected_components(~mask, connectivity=6)
    outer = np.zeros(int(labels.max()) + 1, bool)
    for axis in range(3):
        for side in (0, -1):
            outer[np.take(labels, side, axis=axis)] = True
    outer[0] = False  # the mask itself
    filled: BoolArray = ~outer[labels]
    return filled
