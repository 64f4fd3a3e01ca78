"""From a mask of voxels to connected components: erosion, labelling, and one row of measurements per component."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import numpy.typing as npt

from lungdet.pipeline.regions import Region

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_AXES = range(3)


@dataclass(frozen=True)
class Components:
    """N connected components of a volume, in the order of their first voxel (z, then y, then x).

    Attributes:
        center_zyx: float64 [N, 3], centre of mass in voxels, weighted by HU clipped to [-1000, 1000] plus 1001.
        n_voxels: int64 [N].
        mean_hu: float64 [N], mean of the clipped HU.
        low_zyx: int64 [N, 3], first voxel of the bounding box.
        high_zyx: int64 [N, 3], last voxel of the bounding box, inclusive.
        score: float64 [N], the largest value of the score image in the component; NaN without one.
        label: uint32 [N], its number in the volume that was measured.
    """

    center_zyx: FloatArray
    n_voxels: IndexArray
    mean_hu: FloatArray
    low_zyx: IndexArray
    high_zyx: IndexArray
    score: FloatArray
    label: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.n_voxels)

    def diameter_mm(self, spacing_zyx_mm: tuple[float, float, float]) -> FloatArray:
        """Diameter of the ball of the same volume, float64 [N], mm."""
        volume = self.n_voxels * float(np.prod(spacing_zyx_mm))
        diameter: FloatArray = np.cbrt(6.0 * volume / np.pi)
        return diameter


def erode_once(mask: BoolArray) -> BoolArray:
    """Erode by the 6-neighbourhood, once; outside the volume counts as background.

    The same as `scipy.ndimage.binary_erosion(mask)`, in whole-array operations: 20 times as fast.

    Args:
        mask: bool [D, H, W].

    Returns:
        bool [D, H, W], a new array.
    """
    eroded = mask.copy()
    for axis in _AXES:
        ahead, behind = _shifted(axis)
        eroded[ahead] &= mask[behind]
        eroded[behind] &= mask[ahead]
        for border in (0, -1):
            eroded[(slice(None),) * axis + (border,)] = False
    return eroded


def label_eroded(mask: BoolArray, *, keep_lost: bool) -> npt.NDArray[np.uint32]:
    """Label components that erosion separates, grown back to their voxels before it.

    Erosion cuts the bridges between a nodule and the vessel it touches, but deletes what is thinner than three voxels.
    With `keep_lost` a component of the mask that vanishes entirely stays as it was.

    Args:
        mask: bool [D, H, W].
        keep_lost: keep the components that erosion deletes.

    Returns:
        uint32 [D, H, W], 0 for background, labels without meaning otherwise.
    """
    labels = label(erode_once(mask))
    n_seeds = int(labels.max(initial=0))
    if keep_lost:
        whole = label(mask)
        kept = np.zeros(int(whole.max(initial=0)) + 1, dtype=bool)
        kept[whole[labels > 0]] = True
        kept[0] = True  # background
        lost = np.flatnonzero(~kept[whole.ravel()])
        labels.ravel()[lost] = whole.ravel()[lost] + n_seeds
        del whole
    # One step back: every voxel that erosion took lies beside the component that lost it, or beside nothing.
    bare = np.flatnonzero(mask.ravel() & (labels.ravel() == 0))
    grown = np.zeros(len(bare), dtype=np.uint32)
    position = np.stack(np.unravel_index(bare, mask.shape))
    for axis in _AXES:
        for step in (-1, 1):
            neighbour = position.copy()
            neighbour[axis] += step
            inside = (neighbour[axis] >= 0) & (neighbour[axis] < mask.shape[axis])
            found = labels[tuple(neighbour[:, inside])]
            grown[inside] = np.maximum(grown[inside], found)
    labels.ravel()[bare] = grown
    return labels


def label(mask: BoolArray) -> npt.NDArray[np.uint32]:
    """Number the 6-connected components of a mask: uint32 [D, H, W], 0 for background."""
    labels = cc3d.connected_components(
        np.ascontiguousarray(mask).view(np.uint8), connectivity=6, out_dtype=np.uint32, binary_image=True
    )
    return labels.astype(np.uint32, copy=False)


def measure(
    labels: npt.NDArray[np.uint32], hu: npt.NDArray[np.int16], *, score: npt.NDArray[np.generic] | None = None
) -> Components:
    """Measure every label in one pass over its voxels.

    Sums are of whole numbers in float64, so they are exact and do not depend on the order of voxels.

    Args:
        labels: uint32 [D, H, W], 0 for background; labels need not be consecutive.
        hu: int16 [D, H, W].
        score: any real type [D, H, W], whose maximum per component is wanted.

    Returns:
        The components in the order of their first voxel.
    """
    flat = np.flatnonzero(labels.ravel())
    numbers, first, number = np.unique(labels.ravel()[flat], return_index=True, return_inverse=True)
    n = len(first)
    # np.unique sorts by label; rank the labels by their first voxel instead.
    rank = np.empty(n, dtype=np.int64)
    order = np.argsort(first)
    rank[order] = np.arange(n)
    number = rank[number]
    clipped = np.clip(hu.ravel()[flat], -1000, 1000).astype(np.float64)
    weight = clipped + 1001.0
    counts = np.bincount(number, minlength=n)
    mass = np.bincount(number, weights=weight, minlength=n)
    center, low, high = np.empty((n, 3)), np.empty((n, 3), dtype=np.int64), np.empty((n, 3), dtype=np.int64)
    for axis, position in enumerate(np.unravel_index(flat, labels.shape)):
        center[:, axis] = np.bincount(number, weights=weight * position, minlength=n) / mass
        low[:, axis], high[:, axis] = labels.shape[axis], -1
        np.minimum.at(low[:, axis], number, position)
        np.maximum.at(high[:, axis], number, position)
    best = np.full(n, np.nan)
    if score is not None:
        best[:] = -np.inf
        np.maximum.at(best, number, score.ravel()[flat].astype(np.float64))
    mean = np.bincount(number, weights=clipped, minlength=n) / counts
    return Components(center, counts, mean, low, high, best, numbers[order])


def cut_out(
    labels: npt.NDArray[np.uint32], components: Components, rows: npt.NDArray[np.int64], *, low_zyx: IndexArray
) -> npt.NDArray[np.object_]:
    """The voxels of some components as regions of the scan.

    Args:
        labels: what was measured.
        components: of `labels`.
        rows: int64 [K], which of them.
        low_zyx: int64 [3], where the first voxel of `labels` lies in the scan.

    Returns:
        object [K] of `Region`.
    """
    regions = np.empty(len(rows), dtype=object)
    for n, row in enumerate(rows):
        low, high = components.low_zyx[row], components.high_zyx[row] + 1
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        z, y, x = (low + low_zyx).tolist()
        regions[n] = Region((z, y, x), labels[box] == components.label[row], "segmentation")
    return regions


def _shifted(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Two views of a volume, one voxel apart along an axis."""
    before = (slice(None),) * axis
    return (*before, slice(1, None)), (*before, slice(None, -1))
