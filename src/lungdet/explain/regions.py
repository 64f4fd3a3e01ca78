"""The parts of one image that are occluded in turn: segments of a label map, given masks, or boxes on a grid.

A mask is made when it is needed: 100 supervoxels of a 64-voxel cube are one label map, not 26 million flags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lungdet.errors import ShapeError


class Regions(Protocol):
    """K parts of an image with axes [H, W] or [D, H, W]; they may overlap and need not cover it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis of the image, in pixels."""

    @property
    def names(self) -> tuple[str, ...]:
        """One name per part, for tables and pictures."""

    def __len__(self) -> int:
        """K."""

    def masks(self, first: int, last: int) -> Tensor:
        """Bool [last - first, *shape], true inside the parts `first` to `last - 1`."""

    def pixels(self) -> Tensor:
        """int64 [K], the size of each part in pixels."""


class SegmentRegions:
    """Every pixel belongs to exactly one part.

    Args:
        labels: integer [H, W] or [D, H, W]; the numbers 0 to K - 1, each at least once.

    Raises:
        ShapeError: another number of axes, or numbers with a gap.
    """

    def __init__(self, labels: Tensor) -> None:
        check_axes(labels.shape)
        numbers, pixels = torch.unique(labels, return_counts=True)
        if numbers.tolist() != list(range(len(numbers))):
            raise ShapeError(
                f"segments must be numbered 0, 1, 2, ... without a gap, got {numbers.tolist()[:8]}: "
                "number them with torch.unique(labels, return_inverse=True)"
            )
        self._labels = labels.to(torch.int64)
        self._pixels: Tensor = pixels

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis of the image, in pixels."""
        return tuple(self._labels.shape)

    @property
    def names(self) -> tuple[str, ...]:
        """`segment 0`, `segment 1`, ..."""
        return tuple(f"segment {number}" for number in range(len(self)))

    @property
    def labels(self) -> Tensor:
        """int64 [*shape], the part that each pixel belongs to."""
        return self._labels

    def __len__(self) -> int:
        return len(self._pixels)

    def masks(self, first: int, last: int) -> Tensor:
        """Bool [last - first, *shape]."""
        numbers = torch.arange(first, last, device=self._labels.device)
        masks: Tensor = self._labels == along_first_axis(numbers, self._labels.ndim)
        return masks

    def pixels(self) -> Tensor:
        """int64 [K]."""
        return self._pixels


class MaskRegions:
    """Parts that are given as masks.

    Args:
        names: one per mask.
        masks: bool [K, H, W] or [K, D, H, W], each with at least one pixel.

    Raises:
        ShapeError: another shape or type, another number of names, or an empty mask, which nothing could be said of.
    """

    def __init__(self, names: Sequence[str], masks: Tensor) -> None:
        check_axes(masks.shape[1:])
        if masks.dtype != torch.bool or len(names) != len(masks) or not len(masks):
            raise ShapeError(
                f"masks must be bool [K, *shape] with K >= 1 names, got {masks.dtype} {tuple(masks.shape)} with "
                f"{len(names)} name(s)"
            )
        self._names, self._masks = tuple(names), masks
        self._pixels = masks.flatten(1).sum(1)
        for name, pixels in zip(names, self._pixels.tolist(), strict=True):
            if not pixels:
                raise ShapeError(f"the mask '{name}' holds no pixel of an image {self.shape}: make it larger")

    @property
    def shape(self) -> tuple[int, ...]:
        """Size along each axis of the image, in pixels."""
        return tuple(self._masks.shape[1:])

    @property
    def names(self) -> tuple[str, ...]:
        """As given."""
        return self._names

    def __len__(self) -> int:
        return len(self._masks)

    def masks(self, first: int, last: int) -> Tensor:
        """Bool [last - first, *shape]."""
        return self._masks[first:last]

    def pixels(self) -> Tensor:
        """int64 [K]."""
        return self._pixels


@dataclass(frozen=True, kw_only=True)
class BoxRegions:
    """Boxes of one size.

    Args:
        shape: size of the image along each axis, in pixels.
        size: size of a box along each axis.
        corners: first pixel of each box along each axis; every box lies inside the image.

    Raises:
        ShapeError: no box, or a box that reaches outside.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    corners: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        check_axes(self.shape)
        inside = [
            all(at >= 0 and at + side <= end for at, side, end in zip(corner, self.size, self.shape, strict=True))
            for corner in self.corners
        ]
        if not inside or not all(inside) or min(self.size) < 1:
            raise ShapeError(f"{len(inside)} box(es) of {self.size} pixels must lie inside an image {self.shape}")

    @property
    def names(self) -> tuple[str, ...]:
        """`box at (16, 32)`: its first pixel along each axis."""
        return tuple(f"box at {corner}" for corner in self.corners)

    def __len__(self) -> int:
        return len(self.corners)

    def masks(self, first: int, last: int) -> Tensor:
        """Bool [last - first, *shape]."""
        masks = torch.zeros((last - first, *self.shape), dtype=torch.bool)
        for mask, corner in zip(masks, self.corners[first:last], strict=True):
            mask[tuple(slice(at, at + side) for at, side in zip(corner, self.size, strict=True))] = True
        return masks

    def pixels(self) -> Tensor:
        """int64 [K]."""
        return torch.full((len(self),), math.prod(self.size))


def check_axes(shape: Sequence[int]) -> None:
    """Refuse what is neither an image nor a volume.

    Raises:
        ShapeError: not two or three axes, or an axis without a pixel.
    """
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ShapeError(f"an explanation needs axes (y, x) or (z, y, x) of at least one pixel, got {tuple(shape)}")


def along_first_axis(values: Tensor, n_axes: int) -> Tensor:
    """[K] -> [K, 1, ..., 1] with `n_axes` ones, ready to broadcast against [*shape]."""
    return values.view(-1, *(1,) * n_axes)
