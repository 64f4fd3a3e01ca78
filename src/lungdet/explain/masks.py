"""Given masks to occlude: a centre square, the quadrants, a ring, boxes slid over the image; pictures and volumes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from lungdet.errors import ConfigError
from lungdet.explain.regions import BoxRegions, MaskRegions, check_axes

_SIDES = {"z": ("first", "last"), "y": ("top", "bottom"), "x": ("left", "right")}


def centre_square(shape: Sequence[int], *, size: int) -> MaskRegions:
    """The square (cube) in the middle; where it cannot lie evenly, half a pixel towards the first.

    Args:
        shape: size of the image, (H, W) or (D, H, W), in pixels.
        size: side in pixels.

    Raises:
        ConfigError: a side that is not from 1 to the shortest axis.
        ShapeError: not two or three axes.
    """
    check_axes(shape)
    if not 1 <= size <= min(shape):
        raise ConfigError([f"size={size}: a centre square in an image {tuple(shape)} has a side of 1 to {min(shape)}"])
    mask = torch.zeros(tuple(shape), dtype=torch.bool)
    mask[tuple(slice((end - size) // 2, (end - size) // 2 + size) for end in shape)] = True
    return MaskRegions((f"centre {size}",), mask[None])


def centre_square_of_fraction(shape: Sequence[int], *, fraction: float) -> MaskRegions:
    """The centre square whose side is this fraction of the shortest axis, rounded to whole pixels, at least one.

    Raises:
        ConfigError: a fraction that is not in (0, 1].
        ShapeError: not two or three axes.
    """
    check_axes(shape)
    if not 0 < fraction <= 1:
        raise ConfigError([f"fraction={fraction}: the side of a centre square is more than 0 and at most 1"])
    return centre_square(shape, size=max(1, round(fraction * min(shape))))


def quadrants(shape: Sequence[int]) -> MaskRegions:
    """Four quarters of a picture, eight octants of a volume; a middle line belongs to the first half.

    Returns:
        `top left`, `top right`, `bottom left`, `bottom right`, in a volume `first top left` to `last bottom right`.

    Raises:
        ShapeError: not two or three axes, or an axis of one pixel, which has no second half.
    """
    check_axes(shape)
    axes = "zyx"[-len(shape) :]
    names, masks = [], []
    for halves in itertools.product((0, 1), repeat=len(shape)):
        mask = torch.zeros(tuple(shape), dtype=torch.bool)
        middles = [(end + 1) // 2 for end in shape]
        mask[
            tuple(slice(middle, None) if half else slice(middle) for half, middle in zip(halves, middles, strict=True))
        ] = True
        names.append(" ".join(_SIDES[axis][half] for axis, half in zip(axes, halves, strict=True)))
        masks.append(mask)
    return MaskRegions(names, torch.stack(masks))


def ring(shape: Sequence[int], *, inner: float = 0.5, outer: float = 1.0) -> MaskRegions:
    """The ring (shell) around the centre: pixels at a distance from `inner` to below `outer`.

    Args:
        shape: size of the image, (H, W) or (D, H, W), in pixels.
        inner: inner radius; 1 is half the shortest axis.
        outer: outer radius in the same unit; above 1 it reaches towards the corners.

    Raises:
        ConfigError: not 0 <= inner < outer.
        ShapeError: not two or three axes, or so narrow a ring that no pixel's middle lies in it.
    """
    check_axes(shape)
    if not 0 <= inner < outer:
        raise ConfigError([f"inner={inner}, outer={outer}: a ring needs 0 <= inner < outer, such as 0.5 and 1"])
    axes = [torch.arange(end, dtype=torch.float64) - (end - 1) / 2 for end in shape]
    squares: list[Tensor] = [grid.square() for grid in torch.meshgrid(*axes, indexing="ij")]
    radius = torch.stack(squares).sum(0).sqrt() / (min(shape) / 2)
    return MaskRegions((f"ring {inner:g} to {outer:g}",), ((radius >= inner) & (radius < outer))[None])


def sliding_boxes(shape: Sequence[int], *, size: int, stride: int) -> BoxRegions:
    """A box slid along every axis; the last one along each is moved back inside, so that every pixel is covered.

    Args:
        shape: size of the image, (H, W) or (D, H, W), in pixels.
        size: side of the box in pixels; an axis shorter than it is covered whole.
        stride: from one box to the next, in pixels, at most `size`.

    Raises:
        ConfigError: not 1 <= stride <= size.
        ShapeError: not two or three axes.
    """
    check_axes(shape)
    if not 1 <= stride <= size:
        raise ConfigError([f"size={size}, stride={stride}: boxes leave no gap with 1 <= stride <= size"])
    sides = tuple(min(size, end) for end in shape)
    starts = [sorted({*range(0, end - side, stride), end - side}) for end, side in zip(shape, sides, strict=True)]
    return BoxRegions(shape=tuple(shape), size=sides, corners=tuple(itertools.product(*starts)))
