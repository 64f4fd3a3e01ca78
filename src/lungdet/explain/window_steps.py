"""Steps of a network on whole maps or on windows of them, by how far a cell of the output looks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from lungdet.explain.windows import (
    IntArray,
    Windowed,
    boxes_after,
    boxes_in_steps,
    boxes_of_both,
    changed_cells,
    cut,
    empty_map,
    whole,
)

# From this part of a map on, the whole of it is computed. An EfficientNet-Lite0 took as long with .6 as with .75, and a
# tenth longer with .5.
LARGEST_SHARE = 0.7


class Original(Protocol):
    """What the original image made of every value that windows are cut from."""

    def space(self, number: int) -> tuple[int, ...]:
        """Cells of a value along each axis."""

    def map_of(self, number: int) -> Tensor:
        """float32 [1, C, *space]."""

    def padded(self, number: int, before: tuple[int, ...], after: tuple[int, ...], fill: float) -> Tensor:
        """The same with cells added in front of and behind each axis."""


@dataclass(frozen=True, kw_only=True)
class Step(ABC):
    """One layer.

    Args:
        inputs: numbers of the values that it takes.
        outputs: numbers of what it gives.
        function: what it does.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    function: Callable[..., Any]

    @abstractmethod
    def of_whole(self, values: Sequence[Tensor], *, n_images: int) -> tuple[Tensor, ...]:
        """On whole maps."""

    def of_windows(self, values: Sequence[Tensor | Windowed], original: Original) -> tuple[Tensor | Windowed, ...]:
        """On versions of which one at least is windowed. Unless a step knows better, on whole maps."""
        n_images = next(len(value.patch) for value in values if isinstance(value, Windowed))
        return self.of_whole(whole_maps(values, self.inputs, original), n_images=n_images)

    @property
    def can_keep_windows(self) -> bool:
        """Whether windows may come out."""
        return True

    @property
    def is_pointwise(self) -> bool:
        """Whether windows pass without a look at what lies around them."""
        return False


@dataclass(frozen=True, kw_only=True)
class Whole(Step):
    """Anything that looks at all of its input."""

    function: Callable[[Sequence[Tensor], int], tuple[Tensor, ...]]

    def of_whole(self, values: Sequence[Tensor], *, n_images: int) -> tuple[Tensor, ...]:
        """On whole maps."""
        return self.function(values, n_images)

    @property
    def can_keep_windows(self) -> bool:
        """No."""
        return False


@dataclass(frozen=True, kw_only=True)
class Moved(Step):
    """Cells change their places, or are interpolated: resized, mirrored, turned, cropped.

    It is done to whole maps, and what has changed is found by comparison: of an image that is cheap.
    """

    function: Callable[[Tensor], Tensor]

    def of_whole(self, values: Sequence[Tensor], *, n_images: int) -> tuple[Tensor, ...]:
        """On a whole map."""
        return (self.function(values[0]),)

    def of_windows(self, values: Sequence[Tensor | Windowed], original: Original) -> tuple[Tensor | Windowed, ...]:
        """On versions of a map."""
        versions = self.function(*whole_maps(values, self.inputs, original))
        changed = changed_cells(versions, original.map_of(self.outputs[0]))
        boxes = boxes_in_steps(changed, versions.shape[2:])
        if boxes.share > LARGEST_SHARE:
            return (versions,)
        patch = empty_map((*versions.shape[:2], *boxes.size), versions)
        for inside, version, start in zip(patch, versions, boxes.starts.tolist(), strict=True):
            inside.copy_(_inside(version, start, boxes.size))
        return (Windowed(patch, boxes),)


@dataclass(frozen=True, kw_only=True)
class Pointwise(Step):
    """Every cell by itself."""

    function: Callable[[Tensor], Tensor]

    def of_whole(self, values: Sequence[Tensor], *, n_images: int) -> tuple[Tensor, ...]:
        """On a whole map."""
        return (self.function(values[0]),)

    def of_windows(self, values: Sequence[Tensor | Windowed], original: Original) -> tuple[Tensor | Windowed, ...]:
        """On versions of a map."""
        (value,) = values
        assert isinstance(value, Windowed)
        return (Windowed(self.function(value.patch), value.boxes),)

    @property
    def is_pointwise(self) -> bool:
        """Yes."""
        return True


@dataclass(frozen=True, kw_only=True)
class Joined(Step):
    """Several maps, cell by cell: added, or put one behind the other."""

    function: Callable[[Sequence[Tensor]], Tensor]

    def of_whole(self, values: Sequence[Tensor], *, n_images: int) -> tuple[Tensor, ...]:
        """On whole maps."""
        return (self.function(values),)

    def of_windows(self, values: Sequence[Tensor | Windowed], original: Original) -> tuple[Tensor | Windowed, ...]:
        """On versions of maps."""
        windows = [value for value in values if isinstance(value, Windowed)]
        if len(windows) < len(values):
            return super().of_windows(values, original)
        boxes = windows[0].boxes
        for other in windows[1:]:
            boxes = boxes if boxes.same_place(other.boxes) else boxes_of_both(boxes, other.boxes)
        if boxes.share > LARGEST_SHARE:
            return super().of_windows(values, original)
        nothing = np.zeros(len(boxes.size), np.int64)
        patches = [
            value.patch
            if value.boxes.same_place(boxes)
            else cut(original.map_of(number), value, starts=boxes.starts, size=boxes.size, before=nothing)
            for number, value in zip(self.inputs, windows, strict=True)
        ]
        return (Windowed(self.function(patches), boxes),)


@dataclass(frozen=True, kw_only=True)
class Local(Step):
    """Convolution, pooling or padding: a cell looks at a box of cells.

    Args:
        function: of a map, and of how many cells it has to add itself on both sides of each axis.
        kernel, stride, dilation: along each axis.
        before, after: cells that are added in front of and behind each axis; fewer than none cut some off behind.
        fill: what the added cells hold.
    """

    function: Callable[[Tensor, list[int]], Tensor]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    fill: float = 0.0

    @property
    def is_pointwise(self) -> bool:
        """Whether it looks at one cell only, and has one output for each."""
        ones = set(self.kernel) | set(self.stride)
        return ones == {1} and not any(self.before) and not any(self.after)

    def of_whole(self, values: Sequence[Tensor], *, n_images: int) -> tuple[Tensor, ...]:
        """On a whole map."""
        if self.before == self.after:
            return (self.function(values[0], list(self.before)),)
        return (self.function(padded(values[0], self.before, self.after, self.fill), [0] * len(self.before)),)

    def of_windows(self, values: Sequence[Tensor | Windowed], original: Original) -> tuple[Tensor | Windowed, ...]:
        """On versions of a map."""
        (value,) = values
        assert isinstance(value, Windowed)
        none = [0] * len(self.before)
        if self.is_pointwise:
            return (Windowed(self.function(value.patch, none), value.boxes),)
        kernel, stride, dilation, before = map(_array, (self.kernel, self.stride, self.dilation, self.before))
        boxes = boxes_after(
            value.boxes,
            original.space(self.outputs[0]),
            kernel=kernel,
            stride=stride,
            before=before,
            dilation=dilation,
        )
        if boxes.share > LARGEST_SHARE:
            return super().of_windows(values, original)
        size = (_array(boxes.size) - 1) * stride + (kernel - 1) * dilation + 1
        cells = cut(
            original.padded(self.inputs[0], self.before, self.after, self.fill),
            value,
            starts=boxes.starts * stride,
            size=size.tolist(),
            before=before,
        )
        return (Windowed(self.function(cells, none), boxes),)


def whole_maps(values: Sequence[Tensor | Windowed], numbers: Sequence[int], original: Original) -> list[Tensor]:
    """All cells of every value."""
    return [
        whole(original.map_of(number), value) if isinstance(value, Windowed) else value
        for number, value in zip(numbers, values, strict=True)
    ]


def padded(cells: Tensor, before: Sequence[int], after: Sequence[int], fill: float) -> Tensor:
    """A map with cells added around it."""
    amounts = [amount for pair in zip(before, after, strict=True) for amount in reversed(pair)][::-1]
    return F.pad(cells, amounts, value=fill) if any(amounts) else cells


def _inside(cells: Tensor, start: Sequence[int], size: Sequence[int]) -> Tensor:
    return cells[(slice(None), *(slice(at, at + side) for at, side in zip(start, size, strict=True)))]


def _array(values: Sequence[int]) -> IntArray:
    return np.asarray(values, np.int64)
