"""Running trained networks: flips, ensembles, precision, and the refusal of weights that are not numbers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError, RunError

Precision = Literal["fp32", "bf16", "auto"]
Mean = Literal["logit", "probability"]

_CPU_CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")

# The last three axes of a volume batch; a slice batch has the neighbouring slices as channels in the place of z.
_AXIS = {"z": -3, "y": -2, "x": -1}


def prepare_network(net: nn.Module, name: str) -> nn.Module:
    """Put a network into evaluation mode and its measured memory format, and refuse damaged weights.

    NaN weights would not stop a pipeline by themselves: every comparison with NaN is false, so nothing would be found.

    Args:
        net: any network; changed in place.
        name: what it does, for the message.

    Raises:
        RunError: a weight or buffer that is NaN or infinite; the message names the tensor.
    """
    for key, tensor in net.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise RunError(
                f"the {name} network {type(net).__name__} has NaN or infinite numbers in {key}: the file is damaged "
                "or the training diverged; give another checkpoint"
            )
    return net.eval().to(memory_format=getattr(net, "memory_format", torch.contiguous_format))


def parse_flips(flips: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Turn names of mirrored axes into tensor axes: `["", "x", "yx"]` into `((), (-1,), (-2, -1))`.

    Raises:
        ConfigError: no entry, an axis other than z, y, x, or the same view twice.
    """
    unknown = sorted({axis for flip in flips for axis in flip} - set(_AXIS))
    views = [tuple(sorted(_AXIS[axis] for axis in set(flip))) for flip in flips if not unknown]
    if unknown or not views or len(set(views)) < len(views):
        raise ConfigError(
            [f"flips={list(flips)}: give different views made of the axes z, y, x, such as ['', 'x', 'yx']; '' is the "
             "image as it is"]
        )  # fmt: skip
    return tuple(views)


def check_choice(name: str, value: str, choices: object) -> None:
    """Refuse a word that is not one of a `Literal`.

    Raises:
        ConfigError: what was given and what is allowed.
    """
    allowed = get_args(choices)
    if value not in allowed:
        raise ConfigError([f"{name}={value!r}: allowed are {', '.join(map(repr, allowed))}"])


def mean_logit(
    nets: Sequence[nn.Module],
    image: Tensor,
    *,
    flips: Sequence[tuple[int, ...]] = ((),),
    mean: Mean = "logit",
    precision: Precision = "fp32",
    flips_back: bool = False,
) -> Tensor:
    """Run every network on every view of a batch and average.

    Args:
        nets: one or more networks with the same input; their outputs are [B, K, ...], K = 1 (a logit) or 2 (a softmax
            pair whose difference is the logit).
        image: float32 [B, C, ...], on the device of the networks.
        flips: tensor axes to mirror, one tuple per view; see `parse_flips`.
        mean: average logits, or probabilities that are then turned back into a logit.
        precision: bf16 runs the networks under autocast, see `resolve_precision`; averaging is in float32 always.
        flips_back: mirror the output back: for outputs that are images.

    Returns:
        Float32 [B, ...], the mean logit.
    """
    total: Tensor | None = None
    memory_format = getattr(nets[0], "memory_format", torch.contiguous_format)
    context: AbstractContextManager[object] = nullcontext()
    if resolve_precision(precision, image.device) == "bf16":
        context = torch.autocast(image.device.type, torch.bfloat16)
    for axes in flips:
        # Copying into the memory format and mirroring are one pass.
        view = (image.flip(axes) if axes else image).contiguous(memory_format=memory_format)
        for net in nets:
            with context:
                outputs = net(view).float()
            logit = outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
            if flips_back and axes:
                logit = logit.flip([axis for axis in axes if -axis <= logit.dim() - 1])
            term = torch.sigmoid(logit) if mean == "probability" else logit
            total = term if total is None else total + term
    assert total is not None, "parse_flips and the recipes refuse empty lists"
    average = total / (len(flips) * len(nets))
    return torch.logit(average, eps=1e-7) if mean == "probability" else average


def resolve_precision(precision: Precision, device: torch.device) -> Literal["fp32", "bf16"]:
    """What "auto" stands for on this machine: bf16 where the processor computes in it, else fp32.

    Emulated bf16 is slower than fp32, so "auto" never asks for it.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # Not public before get_capabilities (torch 2.10); without either, assume nothing.
    known = (getattr(torch.cpu, name, lambda: False) for name in _CPU_CHECKS)
    return "bf16" if device.type == "cpu" and any(check() for check in known) else "fp32"


def device_of(net: nn.Module) -> torch.device:
    """Where a network's weights lie; the CPU for one without weights."""
    weight = next(net.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device
