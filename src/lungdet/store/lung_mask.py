"""A lung mask from Hounsfield units alone, at about 2 mm: air that is inside the body, large, and closed.

Made for limiting a search to the lungs, not for measuring them: trachea and main bronchi stay where they are connected
to the lungs, and a closing of 8 mm keeps nodules on the pleura inside.
"""

from __future__ import annotations

import logging

import cc3d
import cv2
import numpy as np
import numpy.typing as npt

from lungdet.geometry import Geometry
from lungdet.store.ball_closing import close_by_ball
from lungdet.store.resample import resample_linear, resample_mask

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
    lungs[box] = _fill(close_by_ball(lungs[box], radius_mm=CLOSING_MM, spacing_zyx_mm=spacing))
    return resample_mask(lungs, coarse_geometry, geometry)


def _lungs(coarse: npt.NDArray[np.int16], spacing: tuple[float, ...]) -> BoolArray | None:
    """The components of air that are lungs; None where there are none."""
    # Padding has the lowest value of all. It counts as border, so that a lung which the round field of view cuts off
    # is not one component with everything outside.
    padding = coarse <= coarse.min() + 2
    labels: Labels = cc3d.connected_components((coarse < AIR_BELOW_HU) & ~padding, connectivity=6)
    voxels = np.bincount(labels.ravel())
    volume_ml = voxels * float(np.prod(spacing)) / 1000
    volume_ml[0] = 0
    border = _border(padding)
    body: BoolArray | None = None
    lungs = np.zeros(coarse.shape, bool)
    largest_ml = 0.0
    for label in sorted(np.flatnonzero(volume_ml >= LEAST_ML), key=lambda n: -voxels[n]):
        if volume_ml[label] < LEAST_SHARE * largest_ml:
            break
        component = labels == label
        touching = bool((component & border).any())
        if np.median(coarse[component]) < (LUNG_ABOVE_HU if touching else GAS_BELOW_HU):
            continue
        if touching:
            body = _body(coarse) if body is None else body
            if not _in_body(component, body):
                continue
        lungs |= component
        largest_ml = max(largest_ml, float(volume_ml[label]))
    return lungs if largest_ml else None


def _border(padding: BoolArray) -> BoolArray:
    """The sides of the image and what lies beside padding in its plane, not the first and the last slice.

    The lungs of a partial scan are cut off there, so it says nothing.
    """
    border = np.zeros_like(padding)
    border[:, :-1] |= padding[:, 1:]
    border[:, 1:] |= padding[:, :-1]
    border[:, :, :-1] |= padding[:, :, 1:]
    border[:, :, 1:] |= padding[:, :, :-1]
    border[:, [0, -1]] = True
    border[:, :, [0, -1]] = True
    return border


def _body(coarse: npt.NDArray[np.int16]) -> BoolArray:
    """The largest piece of tissue."""
    labels: Labels = cc3d.connected_components(coarse > AIR_BELOW_HU, connectivity=6)
    voxels = np.bincount(labels.ravel())
    voxels[0] = 0
    largest: BoolArray = (labels == voxels.argmax()) & (labels > 0)
    return largest


def _in_body(component: BoolArray, body: BoolArray) -> bool:
    """Whether most of the component lies in the convex outline of the body, slice by slice."""
    inside = 0
    for tissue, part in zip(body, component, strict=True):
        if not part.any():
            continue
        points = cv2.findNonZero(tissue.view(np.uint8))
        if points is None:
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
