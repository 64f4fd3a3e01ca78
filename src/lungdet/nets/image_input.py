"""The first step of every 2-D network: grey values in [0, 1], resized and normalised as its weights were trained.

It lies in the network, not in the data, so that it travels with the weights: a run is exported, explained and applied
to images as people have them, and nobody can normalise twice or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional
from torch import Tensor, nn

from lungdet.errors import ConfigError


class ImageInput(nn.Module):
    """(pixel - mean) / std for each channel, after resizing where a size is given.

    Args:
        mean, std: one number per channel.
        resize_hw: height and width that images are resized to (bilinear, anti-aliased where they shrink); None leaves
            them as they are.

    Raises:
        ConfigError: a size that is not two positive numbers.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, resize_hw: Sequence[int] | None = None) -> None:
        super().__init__()
        if resize_hw is not None and (len(resize_hw) != 2 or min(resize_hw) < 1):
            raise ConfigError([f"model.net.resize_hw={list(resize_hw)} must be a height and a width, or null"])
        self.resize_hw = None if resize_hw is None else (int(resize_hw[0]), int(resize_hw[1]))
        self.register_buffer("mean", torch.tensor([float(value) for value in mean]).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor([float(value) for value in std]).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, H, W] in [0, 1] -> [B, C, *resize_hw], normalised."""
        if self.resize_hw is not None and tuple(x.shape[2:]) != self.resize_hw:
            # Anti-aliasing has no ONNX operator, and changes nothing where an image grows.
            shrinks = x.shape[2] > self.resize_hw[0] or x.shape[3] > self.resize_hw[1]
            x = torch.nn.functional.interpolate(
                x, self.resize_hw, mode="bilinear", align_corners=False, antialias=bool(shrinks)
            )
        return (x - self.mean) / self.std

    def seen_hw(self, shape: Sequence[int]) -> tuple[int, ...]:
        """What is left of (H, W) for the layers behind."""
        return tuple(shape) if self.resize_hw is None else self.resize_hw

    def set_moments(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise by these from now on; a deviation of 0 (a channel of one value) counts as 1.

        Raises:
            ConfigError: as many numbers as there are no channels.
        """
        if len(mean) != self.mean.shape[1] or len(std) != self.std.shape[1]:
            raise ConfigError(
                [f"the images have moments for {len(mean)} channel(s), the network takes {self.mean.shape[1]}"]
            )
        self.mean.copy_(torch.tensor([float(value) for value in mean]).view(1, -1, 1, 1))
        self.std.copy_(torch.tensor([float(value) or 1.0 for value in std]).view(1, -1, 1, 1))
