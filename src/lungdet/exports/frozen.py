"""What wraps a network that is a fixed graph, so that the pipeline can treat it like one of `lungdet.nets`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lungdet.errors import RunError, ShapeError
from lungdet.exports.card import ImageInputSpec, InputSpec, NetworkCard

_ROUNDING = 1e-3


class FrozenNetwork(nn.Module):
    """A graph of float32 arithmetic: [B, C, ...] of the card's shape -> outputs float32 [B, K, ...].

    The probability that the graph of a classifier gives, too, is for programs that cannot read the card. lungdet takes
    the raw outputs and applies the card's calibration in float64; `answers` has both.

    It computes in float32 under autocast too: that is what the parity check at export has measured.

    Args:
        card: gives the shape that is accepted, and what `in_channels` and `divisor` are.
        graph: the program; gives one tensor or, as the card says, two. Where it is a module, its weights follow
            `.to(device)`.
    """

    memory_format: torch.memory_format = torch.contiguous_format

    def __init__(self, card: NetworkCard, graph: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.input_spec = card.input
        self.in_channels = card.input.channels
        self.n_classes = card.output.channels
        if card.input.size_divisor is not None:
            self.divisor = card.input.size_divisor
        self.graph_outputs = card.graph_outputs
        self.graph = graph
        # Also because a copy of a TorchScript parameter that has a gradient is no parameter any more.
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, ...] -> float32 [B, K, ...], the raw outputs.

        Raises:
            ShapeError, RunError: see `answers`.
        """
        return self.answers(x)[0]

    def answers(self, x: Tensor) -> tuple[Tensor, ...]:
        """All that the graph gives, as `graph_outputs` names it: float32 [B, K, ...] and, of classifiers, [B].

        Raises:
            ShapeError: an input that is not what the card says; the message names the axis.
            RunError: a picture with other values than 0 to 1; more or fewer tensors than the card says.
        """
        self.check_input(x.shape[1], x.shape[2:])
        if isinstance(self.input_spec, ImageInputSpec):
            check_values(x)
        with torch.autocast(x.device.type, enabled=False):
            given = self.graph(x.float())
        answers = (given,) if isinstance(given, Tensor) else tuple(given)
        if len(answers) != len(self.graph_outputs):
            raise RunError(
                f"the file gives {len(answers)} tensor(s), its card says {len(self.graph_outputs)} "
                f"({', '.join(self.graph_outputs)}): they belong to different exports; copy both again"
            )
        return answers

    def check_input(self, channels: int, shape: Sequence[int]) -> None:
        """Accept the card's channels and shape only.

        Raises:
            ShapeError: what was given and what the file was exported for.
        """
        check_shape(self.input_spec, channels, shape)

    def train(self, mode: bool = True) -> Self:
        """Stay as exported: a graph has no training mode, and `eval()` of an exported program raises."""
        self.training = False
        return self


def check_values(image: Tensor) -> None:
    """Refuse a picture that was not divided by 255, or was normalised: the answer would look like any other.

    Raises:
        RunError: values outside of [0, 1], beyond rounding.
    """
    low, high = (float(value) for value in image.aminmax()) if image.numel() else (0.0, 1.0)
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise RunError(
            f"the picture has values from {low:.4g} to {high:.4g}, the network takes 0 to 1 and normalises by itself: "
            "divide grey values of 0 to 255 by 255, and do nothing else"
        )


def check_shape(spec: InputSpec | ImageInputSpec, channels: int, shape: Sequence[int]) -> None:
    """Refuse a shape that an exported graph does not take.

    Raises:
        ShapeError: the message names the axis.
    """
    axes = "zyx" if spec.layout == "volume" else "yx"
    wanted = (
        "prepare it as the card's input.steps say"
        if spec.layout == "image"
        else "set the crop to the card's crop_zyx_vox"
    )
    if channels != spec.channels or len(shape) != len(axes):
        raise ShapeError(
            f"the exported network takes {spec.channels} channel(s) and axes {tuple(axes)}, the data has {channels} "
            f"channel(s) and shape {tuple(shape)}"
        )
    for axis, size, exported in zip(axes, shape, spec.shape, strict=True):
        if spec.size_divisor is None and size != exported:
            raise ShapeError(
                f"the exported network takes exactly {spec.shape}, {tuple(shape)} has {size} along {axis}: "
                f"{wanted}, or use the safetensors file, which is not bound to a size"
            )
        if spec.size_divisor is not None and (size % spec.size_divisor or size < 2 * spec.size_divisor):
            raise ShapeError(
                f"the exported network needs a multiple of {spec.size_divisor} pixels, at least "
                f"{2 * spec.size_divisor}, {tuple(shape)} has {size} along {axis}"
            )


def dynamic_shapes(spec: InputSpec | ImageInputSpec) -> dict[int, Any]:
    """The axes of an input that stay open in `torch.export`: the batch, and height and width where they are."""
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if spec.size_divisor is not None and spec.layout == "slices":
        # The smallest size is 2: size one would be a special case in the graph.
        axes[2] = spec.size_divisor * torch.export.Dim("height", min=2)
        axes[3] = spec.size_divisor * torch.export.Dim("width", min=2)
    return axes
