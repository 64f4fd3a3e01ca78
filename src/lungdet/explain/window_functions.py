"""What steps do with maps and patches: convolutions with what follows them folded in, pooling, recorded operations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lungdet.errors import RunError
from lungdet.explain.recorded_calls import Call, Value

_RESHAPES = frozenset({"view", "_unsafe_view"})


class Convolution:
    """A convolution with the batch norm behind it folded in.

    Args:
        call: of `aten.convolution`, with constant weights.
    """

    def __init__(self, call: Call) -> None:
        _, weight, bias, self.stride, self.padding, self.dilation, _, _, self.groups = call.args
        self.weight, self.bias = _laid_out(weight.detach()), None if bias is None else bias.detach()

    def fold(self, norm: Call) -> None:
        """Do what a batch norm in evaluation mode does to the output, too."""
        gamma, beta, mean, variance = (part.detach() for part in norm.args[1:5])
        factor = gamma / torch.sqrt(variance + norm.args[-1])
        bias = beta - mean * factor if self.bias is None else beta + (self.bias - mean) * factor
        self.weight = _laid_out(self.weight * factor.view(-1, *(1,) * (self.weight.ndim - 1)))
        self.bias = bias

    def __call__(self, cells: Tensor, padding: list[int]) -> Tensor:
        """Float32 [B, C, *space] -> [B, C', *space']."""
        none = [0] * len(padding)
        return torch.convolution(
            cells, self.weight, self.bias, self.stride, padding, self.dilation, False, none, self.groups
        )


@dataclasses.dataclass(frozen=True)
class Then:
    """A function, and operations in place on what it gives."""

    function: Callable[..., Tensor]
    then: Callable[[Tensor], Any]

    def __call__(self, *args: Any) -> Tensor:
        """As `function`."""
        cells = self.function(*args)
        self.then(cells)
        return cells


@dataclasses.dataclass(frozen=True)
class Padding:
    """Cells of one value around a map."""

    fill: float

    def __call__(self, cells: Tensor, padding: list[int]) -> Tensor:
        """Float32 [B, C, *space] -> [B, C, *space']."""
        return F.pad(cells, [amount for amount in padding[::-1] for _ in range(2)], value=self.fill)


@dataclasses.dataclass(frozen=True)
class MaxPool:
    """The largest value of a box of cells."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    def __call__(self, cells: Tensor, padding: list[int]) -> Tensor:
        """Float32 [B, C, *space] -> [B, C, *space']."""
        pool: Any = {2: F.max_pool2d, 3: F.max_pool3d}[len(padding)]
        pooled: Tensor = pool(cells, self.kernel, self.stride, padding, self.dilation)
        return pooled


@dataclasses.dataclass(frozen=True)
class AveragePool:
    """The mean of a box of cells, zeros around the map included."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]

    def __call__(self, cells: Tensor, padding: list[int]) -> Tensor:
        """Float32 [B, C, *space] -> [B, C, *space']."""
        pool: Any = {2: F.avg_pool2d, 3: F.avg_pool3d}[len(padding)]
        pooled: Tensor = pool(cells, self.kernel, self.stride, padding)
        return pooled


def one_map(call: Call) -> Callable[[Tensor], Tensor]:
    """An operation on one map; of several results the first."""
    several = len(call.results) > 1

    def run(cells: Tensor) -> Tensor:
        found = call([cells], n_images=0)
        answer: Tensor = found[0] if several else found
        return answer

    return run


def several_maps(call: Call) -> Callable[[Sequence[Tensor]], Tensor]:
    """An operation on the values among its arguments."""

    def run(values: Sequence[Tensor]) -> Tensor:
        answer: Tensor = call(values, n_images=0)
        return answer

    return run


def in_place_of(call: Call) -> Callable[[Tensor], Any] | None:
    """The operation in place, where there is one."""
    packet = getattr(torch.ops.aten, f"{call.name}_", None)
    overload = getattr(call.operator, "_overloadname", "")
    first_is_value = bool(call.args) and isinstance(call.args[0], Value)
    if packet is None or not first_is_value or overload not in packet.overloads():
        return None
    quick = dataclasses.replace(call, operator=getattr(packet, overload))
    return lambda cells: quick([cells], n_images=0)


def anything(
    call: Call, shapes: Mapping[int, tuple[int, ...]]
) -> Callable[[Sequence[Tensor], int], tuple[Tensor, ...]]:
    """An operation on values and the number of images.

    Args:
        call: the operation.
        shapes: of all values.

    Raises:
        RunError: one whose answer depends on how tensors lie in memory.
    """
    if call.name == "as_strided":
        before, after = shapes[call.inputs[0]], shapes[call.results[0]]
        # Global pooling of a network in channels_last ends so: single cells are told that they lie in that order.
        if before == after and set(after[2:]) == {1}:
            return lambda values, n_images: (values[0],)
        raise RunError("the network looks at how a tensor lies in memory (as_strided)")
    if call.name in _RESHAPES:  # maps lie in memory in another order here
        call = dataclasses.replace(call, operator=torch.ops.aten.reshape.default)

    def run(values: Sequence[Tensor], n_images: int) -> tuple[Tensor, ...]:
        found = call(values, n_images=n_images)
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    return run


def _laid_out(weight: Tensor) -> Tensor:
    """Channels of a cell side by side, as maps have them."""
    layout = torch.channels_last if weight.ndim == 4 else torch.channels_last_3d
    return torch.empty(weight.shape, dtype=weight.dtype, memory_format=layout).copy_(weight)
