"""What a network does to an image, as a list of tensor operations: recorded while it runs, once for two batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lungdet.errors import RunError

_BATCH_SIZES = (2, 3)


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the image; number 0 is the image itself."""

    number: int


@dataclass(frozen=True)
class PerImage:
    """An argument that counts images: `factor` of them for each, and `offset`."""

    factor: int
    offset: int


@dataclass(frozen=True)
class Call:
    """One operation.

    Args:
        operator: of ATen, without side effects.
        args, kwargs: as it takes them, with `Value` for tensors that depend on the image and `PerImage` for counts.
        results: numbers of the tensors that it returns.
    """

    operator: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    results: tuple[int, ...]

    @property
    def name(self) -> str:
        """`convolution`, `relu`, ..., without the overload."""
        return str(getattr(self.operator, "overloadpacket", self.operator)).rpartition(".")[2]

    @property
    def inputs(self) -> tuple[int, ...]:
        """Numbers of the values among the arguments, in their order."""
        return tuple(part.number for part in _leaves((self.args, self.kwargs)) if isinstance(part, Value))

    def __call__(self, values: Sequence[Any], *, n_images: int) -> Any:
        """Run it with `values` in the places of `inputs`."""
        left = iter(values)

        def filled(part: Any) -> Any:
            if isinstance(part, Value):
                return next(left)
            return part.factor * n_images + part.offset if isinstance(part, PerImage) else part

        args = _mapped(filled, self.args)
        return self.operator(*args, **_mapped(filled, self.kwargs))


@dataclass(frozen=True)
class Recording:
    """All operations between the image and the answer.

    Args:
        calls: in the order in which they ran.
        output: number of the answer.
        shapes: of every value, for two images.
    """

    calls: tuple[Call, ...]
    output: int
    shapes: dict[int, tuple[int, ...]]


def record_calls(network: nn.Module, image: Tensor) -> Recording:
    """Record what the network computes from images like this one.

    Args:
        network: in evaluation mode, on the CPU; it is not changed.
        image: float32 [1, C, *space].

    Raises:
        RunError: a network whose operations depend on the values in the image, or that changes a tensor which something
            else may look at.
    """
    first, second = (_recorded(network, image.expand(size, *image.shape[1:]).contiguous()) for size in _BATCH_SIZES)
    if len(first.calls) != len(second.calls):
        raise RunError(f"{type(network).__name__} does something else with a batch of 2 than with one of 3")
    calls = []
    for call, other in zip(first.calls, second.calls, strict=True):
        if call.operator is not other.operator:
            raise RunError(f"{type(network).__name__} does something else with a batch of 2 than with one of 3")
        args, kwargs = _general((call.args, call.kwargs), (other.args, other.kwargs))
        calls.append(Call(call.operator, args, kwargs, call.results))
    return Recording(tuple(calls), first.output, first.shapes)


def _recorded(network: nn.Module, images: Tensor) -> Recording:
    recorder = _Recorder(images)
    with torch.no_grad(), recorder:
        answer = network(images)
    if not isinstance(answer, Tensor) or id(answer) not in recorder.numbers:
        raise RunError(f"{type(network).__name__} does not answer with a tensor computed from its image")
    return Recording(tuple(recorder.calls), recorder.numbers[id(answer)], recorder.shapes)


@dataclass
class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation, runs it, and notes those on tensors that depend on the image."""

    images: Tensor
    calls: list[Call] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    shapes: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _alive: list[Tensor] = field(default_factory=list)  # else another tensor could get the same id
    _viewed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._number(self.images)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        known = [part for part in _leaves((args, kwargs)) if isinstance(part, Tensor) and id(part) in self.numbers]
        in_place = func._schema.is_mutable  # `relu_`; `__and__` ends so, too, and is not
        if known and func is torch.ops.aten._local_scalar_dense.default:
            raise RunError("what the network does depends on the values in the image")
        if not known:
            if func._schema.is_mutable:
                raise RunError(f"the network changes a constant ({func})")
            return func(*args, **kwargs)
        operator = _without_side_effects(func)
        if in_place and id(args[0]) not in self.numbers:
            raise RunError(f"the network changes a constant ({func})")
        if in_place and (args[0] is self.images or args[0].untyped_storage().data_ptr() in self._viewed):
            raise RunError(f"the network changes a tensor that something else may look at ({func})")
        arguments = _mapped(self._value_of, args), _mapped(self._value_of, kwargs)
        returned = func(*args, **kwargs)
        results = returned if isinstance(returned, tuple | list) else (returned,)
        if any(not isinstance(result, Tensor) for result in results):
            raise RunError(f"the network uses an operation that gives something else than tensors ({func})")
        if not in_place:
            self._viewed |= {
                result.untyped_storage().data_ptr()
                for result in results
                if any(result.untyped_storage().data_ptr() == part.untyped_storage().data_ptr() for part in known)
            }
        self.calls.append(Call(operator, *arguments, tuple(map(self._number, results))))
        return returned

    def _number(self, tensor: Tensor) -> int:
        number = len(self.shapes)
        self.numbers[id(tensor)] = number
        self.shapes[number] = tuple(tensor.shape)
        self._alive.append(tensor)
        return number

    def _value_of(self, part: Any) -> Any:
        return Value(self.numbers[id(part)]) if isinstance(part, Tensor) and id(part) in self.numbers else part


def _without_side_effects(func: Any) -> Any:
    """`relu` for `relu_`."""
    if not func._schema.is_mutable:
        return func
    name = func._schema.name.partition("::")[2]
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    if packet is None or func._overloadname not in packet.overloads():
        raise RunError(f"the network uses an operation with side effects ({func})")
    return getattr(packet, func._overloadname)


def _general(first: Any, second: Any) -> Any:
    """The arguments of one call for any batch size, from those for two sizes."""
    if isinstance(first, tuple | list) and isinstance(second, tuple | list) and len(first) == len(second):
        return type(first)(_general(one, other) for one, other in zip(first, second, strict=True))
    if isinstance(first, dict):
        return {key: _general(one, second[key]) for key, one in first.items()}
    if isinstance(first, Tensor):
        if first is second or (isinstance(second, Tensor) and torch.equal(first, second)):
            return first
    elif first == second:
        return first
    elif isinstance(first, int) and isinstance(second, int):
        (small, large), factor = _BATCH_SIZES, second - first
        assert large - small == 1
        return PerImage(factor, first - small * factor)
    raise RunError("the network uses constants that depend on the number of images")


def _leaves(part: Any) -> list[Any]:
    if isinstance(part, dict):
        part = list(part.values())
    return [leaf for inner in part for leaf in _leaves(inner)] if isinstance(part, tuple | list) else [part]


def _mapped(function: Callable[[Any], Any], part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _mapped(function, inner) for key, inner in part.items()}
    if isinstance(part, tuple | list):
        return type(part)(_mapped(function, inner) for inner in part)
    return function(part)
