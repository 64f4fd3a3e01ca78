"""Layers of a network: by name, and the last convolution that still sees space, which Grad-CAM looks into."""

from __future__ import annotations

import difflib
import math

import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def named_layer(network: nn.Module, name: str) -> nn.Module:
    """The module of this exact name inside a network.

    Raises:
        ConfigError: there is none; the message has the near word or the names of the children.
    """
    modules = dict(network.named_modules())
    if name in modules and name:
        layer: nn.Module = modules[name]
        return layer
    near = difflib.get_close_matches(name, list(modules)[1:], n=1, cutoff=0.7)
    children = ", ".join(child for child, _ in network.named_children())
    hint = f"did you mean '{near[0]}'?" if near else f"it has {children} and what lies inside, as 'child.0.conv'"
    raise ConfigError([f"explain.layer: {type(network).__name__} has no module '{name}'; {hint}"])


def last_convolution(network: nn.Module, images: Tensor) -> str:
    """Name of the convolution that is called last while more than one pixel is left: the one before the pooling.

    Convolutions behind the pooling (a classifier written as one), and those of a gate that pools for itself
    (squeeze-and-excitation), see one pixel and do not count.

    Args:
        network: in evaluation mode.
        images: float32 [B, C, *space], run through the network once.

    Raises:
        ConfigError: no such convolution.
    """
    called: list[str] = []

    def note(name: str, output: Tensor) -> None:
        if output.ndim == images.ndim and math.prod(output.shape[2:]) > 1:
            called.append(name)

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in network.named_modules()
        if isinstance(module, _CONVOLUTIONS)
    ]
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not called:
        raise ConfigError(
            [
                f"explain.layer: {type(network).__name__} has no convolution with more than one pixel left for images "
                f"{tuple(images.shape[2:])}; name another layer by explain.layer=..., or type explain=superpixel"
            ]
        )
    return called[-1]
