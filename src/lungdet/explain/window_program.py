"""Turn recorded operations into steps that windows can pass; batch norm and activations go into convolutions."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lungdet.explain.recorded_calls import Call, Recording
from lungdet.explain.window_functions import (
    AveragePool,
    Convolution,
    MaxPool,
    Padding,
    Then,
    anything,
    in_place_of,
    one_map,
    several_maps,
)
from lungdet.explain.window_steps import Joined, Local, Moved, Pointwise, Step, Whole

_ACTIVATIONS = (
    *("relu", "hardtanh", "clamp", "clamp_min", "clamp_max", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid"),
    *("gelu", "leaky_relu", "elu", "mish", "softplus"),
)
_ARITHMETIC = ("neg", "abs", "exp", "sqrt", "rsqrt", "add", "sub", "rsub", "mul", "div", "pow")
_POINTWISE = frozenset({*_ACTIVATIONS, *_ARITHMETIC, "clone", "_to_copy"})
_JOINED = frozenset({"add", "sub", "mul", "div", "maximum", "minimum"})
_MOVED = ("flip", "rot90", "slice", "upsample_", "_upsample_")
_BATCH_NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit_no_training"})


def steps_of(recording: Recording) -> list[Step]:
    """The steps of a recording, as few as possible.

    Raises:
        RunError: an operation whose answer depends on how tensors lie in memory.
    """
    return _Builder(recording).steps


class _Builder:
    def __init__(self, recording: Recording) -> None:
        self.shapes = recording.shapes
        self.n_axes = len(self.shapes[0]) - 2
        self.uses = Counter(number for call in recording.calls for number in call.inputs)
        self.uses[recording.output] += 1
        self.steps: list[Step] = []
        for call in recording.calls:
            if any(self.uses[number] for number in call.results):
                self.add(call)

    def add(self, call: Call) -> None:
        """Put a call behind the steps there are, or into the last of them."""
        if self.folded(call):
            return
        for make in (self.local, self.joined, self.pointwise, self.moved):
            step = make(call)
            if step is not None:
                self.steps.append(step)
                return
        self.steps.append(Whole(inputs=call.inputs, outputs=call.results, function=anything(call, self.shapes)))

    def is_map(self, number: int) -> bool:
        """Whether a value has an axis of images, one of channels, and those of space."""
        shape = self.shapes[number]
        return len(shape) == self.n_axes + 2 and shape[0] == self.shapes[0][0]

    def last_step(self, number: int) -> Step | None:
        """The step that gives a value, where it is the one before and nothing else takes the value."""
        alone = self.steps and self.steps[-1].outputs == (number,) and self.uses[number] == 1
        return self.steps[-1] if alone else None

    def folded(self, call: Call) -> bool:
        """Put a batch norm or an activation into the step before, where that is possible."""
        step = self.last_step(call.inputs[0]) if len(call.inputs) == 1 else None
        if step is None or not self.is_map(call.results[0]):
            return False
        if call.name in _BATCH_NORMS and isinstance(step, Local) and isinstance(step.function, Convolution):
            if not _is_constant_norm(call):
                return False
            step.function.fold(call)
            self.steps[-1] = dataclasses.replace(step, outputs=call.results[:1])
            return True
        in_place = in_place_of(call)
        makes_new = isinstance(step, Joined | Pointwise) or (
            isinstance(step, Local) and (isinstance(step.function, Convolution | Then))
        )
        if not makes_new or in_place is None or not self.pointwise(call):
            return False
        self.steps[-1] = dataclasses.replace(step, outputs=call.results, function=Then(step.function, in_place))
        return True

    def local(self, call: Call) -> Step | None:
        """A convolution, a pooling, padding."""
        if len(call.inputs) != 1 or not self.is_map(call.inputs[0]) or not self.is_map(call.results[0]):
            return None
        if call.name == "convolution":
            return self.convolution(call)
        if call.name == "constant_pad_nd":
            return self.padding(call)
        if call.name in (f"max_pool{self.n_axes}d_with_indices", f"avg_pool{self.n_axes}d"):
            return self.pooling(call)
        return None

    def convolution(self, call: Call) -> Step | None:
        weight, transposed = call.args[1], call.args[6]
        if transposed or not isinstance(weight, Tensor) or not isinstance(call.args[2], Tensor | None):
            return None
        function = Convolution(call)
        before = after = tuple(function.padding)
        before, after = (_each(amounts, self.n_axes) for amounts in (before, after))
        (number,) = call.inputs
        step = self.last_step(number)
        # Cells that are cut off and zeros that are put there do not cancel out.
        if (
            isinstance(step, Local)
            and isinstance(step.function, Padding)
            and step.fill == 0
            and min(*step.before, *step.after) >= 0
        ):
            self.steps.pop()
            before = tuple(one + other for one, other in zip(before, step.before, strict=True))
            after = tuple(one + other for one, other in zip(after, step.after, strict=True))
            (number,) = step.inputs
        return Local(
            inputs=(number,),
            outputs=call.results,
            function=function,
            kernel=tuple(weight.shape[2:]),
            stride=_each(function.stride, self.n_axes),
            dilation=_each(function.dilation, self.n_axes),
            before=before,
            after=after,
        )

    def padding(self, call: Call) -> Step | None:
        amounts = list(call.args[1])
        if len(amounts) > 2 * self.n_axes:
            return None
        amounts += [0] * (2 * self.n_axes - len(amounts))
        fill = float(call.args[2]) if len(call.args) > 2 else 0.0
        ones = (1,) * self.n_axes
        return Local(
            inputs=call.inputs,
            outputs=call.results,
            function=Padding(fill),
            kernel=ones,
            stride=ones,
            dilation=ones,
            before=tuple(amounts[0::2][::-1]),
            after=tuple(amounts[1::2][::-1]),
            fill=fill,
        )

    def pooling(self, call: Call) -> Step | None:
        is_max = call.name.startswith("max")
        kernel, stride, before = (_each(part, self.n_axes) for part in _with_defaults(call.args[1:4], [[], [], 0]))
        stride = stride or kernel
        rest = call.args[4:]
        dilation = _each(_with_defaults(rest[:1], [1])[0] if is_max else 1, self.n_axes)
        ends = zip(
            self.shapes[call.inputs[0]][2:],
            self.shapes[call.results[0]][2:],
            kernel,
            stride,
            before,
            dilation,
            strict=True,
        )
        # What the last box needs: more than in front where the size is rounded up.
        beyond = [(out - 1) * s + (k - 1) * d + 1 - size - p for size, out, k, s, p, d in ends]
        after = tuple(max(amount, p) for amount, p in zip(beyond, before, strict=True))
        if is_max:
            if any(self.uses[number] for number in call.results[1:]):
                return None
            function: Callable[[Tensor, list[int]], Tensor] = MaxPool(kernel, stride, dilation)
            fill = -math.inf
        else:
            _, count_padding, divisor = _with_defaults(rest, [False, True, None])
            if (after != before) or (any(before) and not count_padding) or divisor is not None:
                return None
            function, fill = AveragePool(kernel, stride), 0.0
        return Local(
            inputs=call.inputs,
            outputs=call.results[:1],
            function=function,
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            before=before,
            after=after,
            fill=fill,
        )

    def joined(self, call: Call) -> Step | None:
        """Two maps added, several put one behind the other."""
        if len(call.inputs) < 2 or not all(map(self.is_map, (*call.inputs, *call.results))):
            return None
        shapes = [self.shapes[number] for number in (*call.inputs, *call.results)]
        if call.name == "cat":
            parts, axis = call.args[0], _with_defaults(call.args[1:], [0])[0]
            fits = axis in (1, 1 - len(shapes[0])) and len(parts) == len(call.inputs)
        else:
            fits = call.name in _JOINED and len(set(shapes)) == 1
        return Joined(inputs=call.inputs, outputs=call.results, function=several_maps(call)) if fits else None

    def pointwise(self, call: Call) -> Step | None:
        """A cell by itself."""
        if len(call.inputs) != 1 or not self.is_map(call.inputs[0]):
            return None
        if call.name in _BATCH_NORMS and _is_constant_norm(call):
            return Pointwise(inputs=call.inputs, outputs=call.results[:1], function=one_map(call))
        same = self.shapes[call.inputs[0]] == self.shapes[call.results[0]]
        if call.name not in _POINTWISE or not same or not self.constants_fit(call):
            return None
        return Pointwise(inputs=call.inputs, outputs=call.results, function=one_map(call))

    def constants_fit(self, call: Call) -> bool:
        """Whether constants among the arguments are the same for all cells."""
        tensors = [part for part in call.args if isinstance(part, Tensor)]
        return all(set(tensor.shape[-self.n_axes :]) <= {1} for tensor in tensors)

    def moved(self, call: Call) -> Step | None:
        """A map resized, mirrored, turned or cropped."""
        if len(call.inputs) != 1 or not call.name.startswith(_MOVED):
            return None
        if not all(map(self.is_map, (*call.inputs, *call.results))):
            return None
        if self.shapes[call.inputs[0]][:2] != self.shapes[call.results[0]][:2]:
            return None
        axes = {"flip": 1, "rot90": 2, "slice": 1}
        if call.name in axes:
            place = axes[call.name]
            if len(call.args) <= place:  # by default it is done to images
                return None
            given = call.args[place]
            if any(axis % (self.n_axes + 2) < 2 for axis in ([given] if isinstance(given, int) else given)):
                return None
        return Moved(inputs=call.inputs, outputs=call.results, function=one_map(call))


def _is_constant_norm(call: Call) -> bool:
    constants = all(isinstance(part, Tensor) for part in call.args[1:5])
    return constants and (call.name != "native_batch_norm" or not call.args[5])


def _each(amounts: Any, n_axes: int) -> tuple[int, ...]:
    """One number for each axis, of one for all."""
    several: tuple[int, ...] = (amounts,) if isinstance(amounts, int) else tuple(amounts)
    return several * n_axes if len(several) == 1 else several


def _with_defaults(given: Sequence[Any], defaults: Sequence[Any]) -> list[Any]:
    return [*given, *defaults[len(given) :]]
