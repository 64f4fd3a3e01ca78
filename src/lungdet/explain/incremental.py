"""Ask a network about changed versions of one image, and compute of each layer only what the change reaches.

Reference: Nakandala, Kumar and Papakonstantinou, "Incremental and Approximate Inference for Faster Occlusion-based Deep
CNN Explanations", SIGMOD 2019, doi:10.1145/3299869.3319874.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lungdet.errors import ShapeError
from lungdet.explain.recorded_calls import Call, Recording, Value, record_calls
from lungdet.explain.window_program import steps_of
from lungdet.explain.window_steps import Local, Moved, Step, padded, whole_maps
from lungdet.explain.windows import Windowed, empty_map


class Incremental:
    """A network as steps that go through windows.

    Args:
        network: in evaluation mode, on the CPU; it is not changed.
        image: float32 [1, C, *space], one such as those to come.

    Attributes:
        share: of the network's multiplications, those that windows go through.

    Raises:
        RunError: a network that cannot be taken apart.
    """

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        recording = record_calls(network, image)
        self.steps = steps_of(recording)
        self.output = recording.output
        self.shapes = recording.shapes
        self.share = windowed_share(recording, self.steps)
        self.needed = _needed(self.steps, self.output)
        self._last_use = {number: place for place, step in enumerate(self.steps) for number in step.inputs}

    def original(self, image: Tensor) -> OriginalMaps:
        """Compute, and keep, every map of the image that versions of it can be put together from.

        Args:
            image: float32 [1, C, *space].

        Raises:
            ShapeError: another shape than the image had that the network was taken apart with.
        """
        if tuple(image.shape) != (1, *self.shapes[0][1:]):
            raise ShapeError(f"windows were made for one image {self.shapes[0][1:]}, got {tuple(image.shape)}")
        maps = OriginalMaps(self.shapes)
        values = {0: empty_map(image.shape, image).copy_(image)}
        with torch.no_grad():
            for place, step in enumerate(self.steps):
                self._keep(maps, step, values)
                found = step.of_whole([values[number] for number in step.inputs], n_images=1)
                values.update(zip(step.outputs, found, strict=True))
                self._forget(step, place, values)
        for number in self.needed & values.keys():
            maps.keep(number, values[number])
        return maps

    def outputs(self, original: OriginalMaps, versions: Windowed) -> Tensor:
        """What the network answers to versions of the image: float32 [B, n]."""
        values: dict[int, Tensor | Windowed] = {0: versions}
        n_images = len(versions.patch)
        with torch.no_grad():
            for place, step in enumerate(self.steps):
                given = [values[number] for number in step.inputs]
                tensors = [value for value in given if isinstance(value, Tensor)]
                found: Iterable[Tensor | Windowed] = (
                    step.of_whole(tensors, n_images=n_images)
                    if len(tensors) == len(given)
                    else step.of_windows(given, original)
                )
                values.update(zip(step.outputs, found, strict=False))
                self._forget(step, place, values)
            (answer,) = whole_maps([values[self.output]], [self.output], original)
        return answer

    def _keep(self, maps: OriginalMaps, step: Step, values: dict[int, Tensor]) -> None:
        for number in self.needed.intersection(step.inputs):
            if isinstance(step, Local):
                maps.keep_padded(number, values[number], step.before, step.after, step.fill)
            else:
                maps.keep(number, values[number])

    def _forget(self, step: Step, place: int, values: dict[int, Tensor] | dict[int, Tensor | Windowed]) -> None:
        for number in {*step.inputs, *step.outputs}:
            if self._last_use.get(number, -1) <= place and number != self.output:
                values.pop(number, None)


@dataclass
class OriginalMaps:
    """What the original image made of the values that versions are put together from.

    Args:
        shapes: of all values.
    """

    shapes: dict[int, tuple[int, ...]]
    _maps: dict[int, Tensor] = field(default_factory=dict)
    _padded: dict[tuple[int, tuple[int, ...], tuple[int, ...], float], Tensor] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """What is kept."""
        kept = {cells.untyped_storage().data_ptr(): cells for cells in (*self._maps.values(), *self._padded.values())}
        return sum(cells.untyped_storage().nbytes() for cells in kept.values())

    def space(self, number: int) -> tuple[int, ...]:
        """Cells of a value along each axis."""
        return self.shapes[number][2:]

    def map_of(self, number: int) -> Tensor:
        """float32 [1, C, *space]."""
        return self._maps[number]

    def padded(self, number: int, before: tuple[int, ...], after: tuple[int, ...], fill: float) -> Tensor:
        """The same with cells added in front of and behind each axis."""
        return self._padded[number, before, after, fill]

    def keep(self, number: int, cells: Tensor) -> None:
        """Keep a map."""
        self._maps.setdefault(number, cells)

    def keep_padded(
        self, number: int, cells: Tensor, before: tuple[int, ...], after: tuple[int, ...], fill: float
    ) -> None:
        """Keep a map with cells added around it, and the map as its middle."""
        key = (number, before, after, fill)
        if key not in self._padded:
            self._padded[key] = padded(cells, before, after, fill)
        inside = (slice(None), slice(None))
        inside += tuple(slice(at, at + side) for at, side in zip(before, cells.shape[2:], strict=True))
        if min(*before, *after) >= 0:
            self._maps.setdefault(number, self._padded[key][inside])
        else:
            self.keep(number, cells)


def windowed_share(recording: Recording, steps: Sequence[Step]) -> float:
    """Multiplications of convolutions and matrices before something looks at whole maps, as a part of all; 1 of none.

    Args:
        recording: of a network.
        steps: made of it.
    """
    on_whole_maps = {number for step in steps if not step.can_keep_windows for number in step.outputs}
    windowed, among_windows, in_all = {0}, 0, 0
    for call in recording.calls:
        n = _multiplications(call, recording.shapes)
        in_all += n
        if windowed.intersection(call.inputs) and not on_whole_maps.intersection(call.results):
            windowed.update(call.results)
            among_windows += n
    return among_windows / in_all if in_all else 1.0


def _multiplications(call: Call, shapes: dict[int, tuple[int, ...]]) -> int:
    place = {"convolution": 1, "mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1}.get(call.name)
    if place is None:
        return 0
    factor = call.args[place]
    shape = shapes[factor.number] if isinstance(factor, Value) else tuple(factor.shape)
    if call.name != "convolution":
        each = shape[-1]
    elif call.args[6]:  # transposed: how many inputs an output sees depends on the stride
        each = shape[0] * math.prod(shape[2:]) // (math.prod(call.args[3]) * call.args[8])
    else:
        each = math.prod(shape[1:])
    return math.prod(shapes[call.results[0]]) * each


def _needed(steps: Sequence[Step], output: int) -> set[int]:
    """Numbers of the values that windows may have to be cut from, or pasted into."""
    windowed, needed = {0}, set()
    for step in steps:
        among = windowed.intersection(step.inputs)
        if not among:
            continue
        if not step.is_pointwise:
            needed |= among
        if isinstance(step, Moved):
            needed |= set(step.outputs)
        if step.can_keep_windows:
            windowed |= set(step.outputs)
    return needed | ({output} & windowed)
