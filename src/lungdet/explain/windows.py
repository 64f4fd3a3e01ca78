"""Windows of feature maps: what differs between an original image and changed versions of it, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

IntArray = npt.NDArray[np.int64]

# Sides of windows come in steps of so many cells: of each new size every layer makes a kernel, in up to 2 ms.
GRID = 8


@dataclass(frozen=True)
class Boxes:
    """Where versions of one map differ from the original: a box for each, all of one size.

    Args:
        starts: int64 [B, n_axes], first cell of each box.
        size: cells along each axis, the same for all boxes, so that they make one tensor.
        changed: int64 [2, B, n_axes], first and last cell that may differ, within the box.
        space: cells of the whole map along each axis.
    """

    starts: IntArray
    size: tuple[int, ...]
    changed: IntArray
    space: tuple[int, ...]

    @property
    def share(self) -> float:
        """Cells in a box as a part of those of the map."""
        return float(np.prod([size / whole for size, whole in zip(self.size, self.space, strict=True)]))

    def same_place(self, other: Boxes) -> bool:
        """Whether every box covers the cells that the other's does."""
        return self.size == other.size and bool((self.starts == other.starts).all())


@dataclass(frozen=True)
class Windowed:
    """Versions of a map that equal the original outside of a box each.

    Args:
        patch: float32 [B, C, *boxes.size], what is in the boxes.
        boxes: where they are.
    """

    patch: Tensor
    boxes: Boxes


def boxes_around(changed: IntArray, space: Sequence[int], *, size: Sequence[int] | None = None) -> Boxes:
    """Boxes that hold what has changed, moved inwards where they would leave the map.

    Args:
        changed: int64 [2, B, n_axes], first and last changed cell.
        space: of the map.
        size: of the boxes, large enough; None for the smallest common one.
    """
    whole = np.asarray(space, np.int64)
    needed = (changed[1] - changed[0] + 1).max(axis=0)
    side = needed if size is None else np.minimum(np.asarray(size, np.int64), whole)
    starts = np.minimum(changed[0], whole - side)
    return Boxes(starts, tuple(side.tolist()), changed, tuple(whole.tolist()))


def boxes_in_steps(changed: IntArray, space: Sequence[int]) -> Boxes:
    """As `boxes_around`, sides rounded up to multiples of `GRID`."""
    longest = (changed[1] - changed[0] + 1).max(axis=0)
    return boxes_around(changed, space, size=(-(-longest // GRID) * GRID).tolist())


def boxes_of_both(one: Boxes, other: Boxes) -> Boxes:
    """Boxes that hold what has changed in either of two maps of the same space."""
    changed = np.stack([np.minimum(one.changed[0], other.changed[0]), np.maximum(one.changed[1], other.changed[1])])
    needed = (changed[1] - changed[0] + 1).max(axis=0)
    return boxes_around(changed, one.space, size=np.maximum(np.maximum(one.size, other.size), needed).tolist())


def boxes_after(
    boxes: Boxes, space: Sequence[int], *, kernel: IntArray, stride: IntArray, before: IntArray, dilation: IntArray
) -> Boxes:
    """Where the output of a layer may differ that looks at `kernel` cells around each.

    Args:
        boxes: of its input.
        space: of its output.
        kernel: cells along each axis that it looks at, int64 [n_axes].
        stride: from one output to the next.
        before: cells that are added in front of each axis.
        dilation: from one cell that it looks at to the next.
    """
    whole = np.asarray(space, np.int64)
    reach = (kernel - 1) * dilation
    first = -((reach - boxes.changed[0] - before) // stride)  # rounded up
    last = (boxes.changed[1] + before) // stride
    last = np.clip(last, 0, whole - 1)
    first = np.clip(first, 0, last)
    # As many as a box of this size changes wherever it lies: the size of one layer's boxes then depends on that of the
    # first only, and few kernels have to be made for the many sizes of segments.
    side = (np.asarray(boxes.size, np.int64) - 1 + reach) // stride + 1
    return boxes_around(np.stack([first, last]), space, size=side.tolist())


def cut(padded: Tensor, value: Windowed, *, starts: IntArray, size: Sequence[int], before: IntArray) -> Tensor:
    """The same cells of every version, those of the original where they have not changed.

    Args:
        padded: float32 [1, C, *space], the original map with cells added around it.
        value: its versions.
        starts: int64 [B, n_axes], first cell to cut, in the padded map.
        size: how many cells to cut along each axis.
        before: cells added in front of each axis.

    Returns:
        Float32 [B, C, *size].
    """
    n_images, channels = value.patch.shape[:2]
    cells = empty_map((n_images, channels, *size), value.patch)
    offset = value.boxes.starts + before - starts
    first = np.maximum(offset, 0)
    last = np.minimum(offset + np.asarray(value.boxes.size), np.asarray(size))
    rows = zip(starts.tolist(), offset.tolist(), first.tolist(), last.tolist(), strict=True)
    original = padded[0]
    for version, patch, (start, moved, lo, hi) in zip(cells, value.patch, rows, strict=True):
        version.copy_(_part(original, start, [at + side for at, side in zip(start, size, strict=True)]))
        if all(a < b for a, b in zip(lo, hi, strict=True)):
            inner = [a - m for a, m in zip(lo, moved, strict=True)]
            outer = [b - m for b, m in zip(hi, moved, strict=True)]
            _part(version, lo, hi).copy_(_part(patch, inner, outer))
    return cells


def whole(original: Tensor, value: Windowed) -> Tensor:
    """All cells of every version: float32 [B, C, *space].

    Args:
        original: float32 [1, C, *space].
        value: its versions.
    """
    cells = empty_map((len(value.patch), *original.shape[1:]), value.patch)
    cells.copy_(original)
    for version, patch, start in zip(cells, value.patch, value.boxes.starts.tolist(), strict=True):
        _part(version, start, [at + side for at, side in zip(start, value.boxes.size, strict=True)]).copy_(patch)
    return cells


def empty_map(shape: Sequence[int], like: Tensor) -> Tensor:
    """Room for a map, with the channels of a cell side by side."""
    layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    return torch.empty(tuple(shape), dtype=like.dtype, device=like.device, memory_format=layout)


def changed_cells(versions: Tensor, original: Tensor) -> IntArray:
    """First and last cell along each axis where a version differs from the original: int64 [2, B, n_axes].

    Args:
        versions: float32 [B, C, *space].
        original: float32 [1, C, *space].

    Returns:
        For a version that does not differ, the first cell.
    """
    return bounds((versions != original).any(dim=1))


def bounds(masks: Tensor) -> IntArray:
    """First and last true cell along each axis, of bool [B, *space]: int64 [2, B, n_axes]; the first cell of none."""
    ends = []
    for axis in range(1, masks.ndim):
        others = [other for other in range(1, masks.ndim) if other != axis]
        along = masks.any(dim=others) if others else masks
        places = along.cpu().numpy()
        first = places.argmax(axis=1)
        last = np.where(places.any(axis=1), places.shape[1] - 1 - places[:, ::-1].argmax(axis=1), 0)
        ends.append(np.stack([first, last]))
    return np.stack(ends, axis=-1).astype(np.int64)


def _part(cells: Tensor, start: Sequence[int], stop: Sequence[int]) -> Tensor:
    """[C, *space] -> [C, *(stop - start)], a view."""
    return cells[(slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))]
