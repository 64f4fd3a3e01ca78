"""From the drops of parts to a map over pixels, its colour scale, and the share of it that falls on a known target."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.occlusion import Drops
from lungdet.explain.ranking import check_drops
from lungdet.explain.regions import Regions, along_first_axis

Sign = Literal["positive", "signed"]

_MASKS_AT_ONCE = 16


def pixel_drops(regions: Regions, drops: Drops) -> Tensor:
    """The mean drop of the parts that a pixel lies in; the map to look at.

    Returns:
        float32 [*shape], signed; NaN where no part lies, of which nothing is known.

    Raises:
        ShapeError: another number of drops than parts.
    """
    ones = torch.ones(len(regions), dtype=torch.float64)
    # 0 / 0 outside every part is the NaN that is promised.
    return (_summed(regions, _drop(regions, drops)) / _summed(regions, ones)).float()


def drop_density(regions: Regions, drops: Drops) -> Tensor:
    """Each part's drop spread evenly over its pixels and added up; the map to integrate.

    Returns:
        float32 [*shape], signed; it sums to the sum of the drops.

    Raises:
        ShapeError: another number of drops than parts.
    """
    return _summed(regions, _drop(regions, drops) / regions.pixels().cpu()).float()


def region_sums(regions: Regions, values: Tensor) -> npt.NDArray[np.float64]:
    """What a map adds up to inside each part: float64 [K].

    Args:
        regions: the K parts.
        values: float [*shape].

    Raises:
        ShapeError: a map of another shape.
    """
    if tuple(values.shape) != regions.shape:
        raise ShapeError(f"a map {tuple(values.shape)} cannot be added up over parts of an image {regions.shape}")
    values = values.double().cpu()
    sums = []
    for first in range(0, len(regions), _MASKS_AT_ONCE):
        masks = regions.masks(first, min(first + _MASKS_AT_ONCE, len(regions))).cpu()
        sums.append((masks * values).flatten(1).sum(1))
    return torch.cat(sums).numpy()


def positive_share(density: Tensor, target: Tensor) -> float:
    """Which share of the positive part of a map falls on a target, such as the nodule of a phantom.

    Args:
        density: float [*shape], per pixel: `drop_density`, or an attribution of gradients.
        target: bool [*shape].

    Returns:
        From 0 to 1; NaN without anything positive. A map that is the same
        everywhere scores the target's share of the image.

    Raises:
        ShapeError: two shapes, or a target that is not bool.
    """
    if density.shape != target.shape or target.dtype != torch.bool:
        raise ShapeError(
            f"a map {tuple(density.shape)} needs a bool target of its shape, got {target.dtype} {tuple(target.shape)}"
        )
    positive = density.double().clamp(min=0)
    return float(positive[target.to(positive.device)].sum() / positive.sum())


def scaled_heat_map(values: Tensor, *, sign: Sign = "positive", quantile: float = 0.99) -> tuple[Tensor, float]:
    """A map on a colour scale whose end a few outlying pixels do not set.

    Args:
        values: float [*shape], signed; NaN where nothing is known.
        sign: `positive` cuts off what spoke against the class; `signed` keeps both, with 0 in the middle.
        quantile: of the pixels that are not zero (by size, after the cut), which one ends the scale.

    Returns:
        float32 [*shape] in [0, 1] or [-1, 1], NaN kept; and the value that 1 stands for, 0 when the map is empty.

    Raises:
        ConfigError: another sign, or a quantile that is not in (0, 1].
    """
    if sign not in get_args(Sign) or not 0 < quantile <= 1:
        raise ConfigError(
            [f"sign={sign!r}, quantile={quantile}: a heat map is positive or signed, with a quantile in (0, 1]"]
        )
    cut = values.float() if sign == "signed" else values.float().clamp(min=0)
    sizes = cut.abs()
    sizes = sizes[sizes > 0]
    if not len(sizes):
        return cut, 0.0
    # The smallest value that `quantile` of the pixels do not exceed; torch.quantile refuses more than 16 million.
    bound = sizes.sort().values[max(0, math.ceil(quantile * len(sizes)) - 1)]
    return (cut / bound).clamp(-1, 1), float(bound)


def _drop(regions: Regions, drops: Drops) -> Tensor:
    check_drops(regions, drops)
    return torch.from_numpy(drops.drop)


def _summed(regions: Regions, values: Tensor) -> Tensor:
    """float64 [K] -> float64 [*shape]: the sum of the values of the parts that a pixel lies in."""
    total = torch.zeros(regions.shape, dtype=torch.float64)
    for first in range(0, len(regions), _MASKS_AT_ONCE):
        some = values[first : first + _MASKS_AT_ONCE]
        masks = regions.masks(first, first + len(some)).cpu()
        total += (masks * along_first_axis(some, masks.ndim - 1)).sum(0)
    return total
