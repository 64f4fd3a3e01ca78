"""What stands in for an occluded part: a constant (dataset mean, HU of air or lung), the image's mean, or its blur.

A fill turns float32 [B, C, *space] into what each pixel would be if it were occluded, of the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.regions import along_first_axis

Fill = Callable[[Tensor], Tensor]

AIR_HU = -1000.0
# Aerated lung at full inspiration, between air and soft tissue: what an absent nodule would have left behind.
LUNG_PARENCHYMA_HU = -850.0


@dataclass(frozen=True)
class ConstantFill:
    """The same number everywhere, one per channel.

    Args:
        values: one number per channel, or one for all, in the network's input units (after normalisation).

    Raises:
        ConfigError: no number, or one that is not finite.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(float(value) for value in self.values))
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ConfigError([f"values={list(self.values)}: a fill needs one finite number, or one per channel"])

    def __call__(self, images: Tensor) -> Tensor:
        """Float [B, C, *space] -> the same shape and type.

        Raises:
            ShapeError: as many numbers as there are no channels.
        """
        if len(self.values) not in (1, images.shape[1]):
            raise ShapeError(
                f"the fill has {len(self.values)} numbers for images of {images.shape[1]} channel(s): give one number, "
                "or one per channel"
            )
        values = torch.tensor(self.values, dtype=images.dtype, device=images.device)
        return along_first_axis(values, images.ndim - 2).expand_as(images)


def dataset_mean_fill(batches: Iterable[Tensor]) -> ConstantFill:
    """The mean of every channel over a data set, each image weighing as much as it has pixels.

    Args:
        batches: float [B, C, *space] each, as the network gets them; read once, one at a time.

    Raises:
        ShapeError: no batch.
    """
    total: Tensor | None = None
    pixels = 0
    for batch in batches:
        sums = batch.double().transpose(0, 1).flatten(1).sum(1).cpu()
        total = sums if total is None else total + sums
        pixels += batch.numel() // batch.shape[1]
    if total is None:
        raise ShapeError("the mean of a data set needs at least one batch of images, got none")
    return ConstantFill(tuple((total / pixels).tolist()))


def hu_fill(hu: float, *, range_hu: tuple[float, float], scale: Literal["unit", "hu"] = "unit") -> ConstantFill:
    """A Hounsfield value as the network sees it.

    Args:
        hu: `AIR_HU`, `LUNG_PARENCHYMA_HU` or another value.
        range_hu: the window that the data was clipped to.
        scale: "unit" if the window was then mapped to [0, 1], "hu" if it was left in HU.

    Raises:
        ConfigError: an empty window, or another scale.

    Example:
        >>> hu_fill(LUNG_PARENCHYMA_HU, range_hu=(-1000, 200)).values
        (0.125,)
    """
    low, high = range_hu
    if not low < high or scale not in ("unit", "hu"):
        raise ConfigError(
            [
                f"range_hu={list(range_hu)}, scale={scale!r}: a window is a lower and a higher end in HU, such as "
                "[-1000, 400], with the scale 'unit' or 'hu'"
            ]
        )
    clipped = min(max(hu, low), high)
    return ConstantFill(((clipped - low) / (high - low) if scale == "unit" else clipped,))


@dataclass(frozen=True)
class ImageMeanFill:
    """The mean of each channel of each image."""

    def __call__(self, images: Tensor) -> Tensor:
        """Float [B, C, *space] -> the same shape and type."""
        return images.mean(dim=tuple(range(2, images.ndim)), keepdim=True).expand_as(images)


@dataclass(frozen=True)
class BlurFill:
    """The image without its detail: a Gaussian along every axis, the border continued by its last pixel.

    Args:
        sigma: standard deviation in pixels; the Gaussian is cut at four of them, as scipy does.

    Raises:
        ConfigError: a width that is not positive.
    """

    sigma: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise ConfigError([f"sigma={self.sigma}: the width of a blur is a number of pixels above 0, such as 10"])

    def __call__(self, images: Tensor) -> Tensor:
        """Float [B, C, *space] -> the same shape and type."""
        radius = int(4 * self.sigma + 0.5)
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
        kernel = torch.exp(-0.5 * (offsets / self.sigma) ** 2)
        weights = (kernel / kernel.sum()).to(images)[None, None]
        for axis in range(2, images.ndim):
            lines = images.movedim(axis, -1)
            padded = F.pad(lines.reshape(-1, 1, lines.shape[-1]), (radius, radius), mode="replicate")
            images = F.conv1d(padded, weights).reshape(lines.shape).movedim(-1, axis)
        return images
