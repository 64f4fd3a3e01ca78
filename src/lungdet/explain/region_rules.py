"""How an image is cut into parts, as a configuration says it (`explain.regions`): image -> `Regions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lungdet.errors import ConfigError
from lungdet.explain.masks import centre_square, centre_square_of_fraction, quadrants, ring, sliding_boxes
from lungdet.explain.regions import MaskRegions, Regions
from lungdet.explain.segments import slic_segments

# One image, float32 [C, *space] as the network takes it -> its parts.
RegionRule = Callable[[Tensor], Regions]


@dataclass(frozen=True, kw_only=True)
class Slic:
    """Superpixels of a picture, supervoxels of a volume; see `lungdet.explain.segments.slic_segments`."""

    n_segments: int = 100
    compactness: float = 10.0
    sigma: float = 1.0

    def __call__(self, image: Tensor) -> Regions:
        """Cut one image."""
        return slic_segments(image, n_segments=self.n_segments, compactness=self.compactness, sigma=self.sigma)


@dataclass(frozen=True, kw_only=True)
class SlidingBoxes:
    """A box slid over the image.

    Args:
        size: side in pixels.
        stride: from one box to the next, in pixels, at most `size`.
    """

    size: int
    stride: int

    def __call__(self, image: Tensor) -> Regions:
        """Cut one image."""
        return sliding_boxes(image.shape[1:], size=self.size, stride=self.stride)


@dataclass(frozen=True, kw_only=True)
class SlidingBoxesOfFraction:
    """A box slid over the image, as large as the image demands.

    Args:
        fraction: side as a fraction of the shortest axis, in (0, 1], at least one pixel.
        step: from one box to the next, as a fraction of the side, in (0, 1], at least one pixel.

    Raises:
        ConfigError: a fraction out of range.
    """

    fraction: float = 0.25
    step: float = 0.5

    def __post_init__(self) -> None:
        if not (0 < self.fraction <= 1 and 0 < self.step <= 1):
            raise ConfigError(
                [
                    f"explain.regions: fraction={self.fraction}, step={self.step}: the side of a sliding box (of the "
                    "shortest axis) and its step (of the side) are more than 0 and at most 1"
                ]
            )

    def __call__(self, image: Tensor) -> Regions:
        """Cut one image."""
        size = max(1, round(self.fraction * min(image.shape[1:])))
        return sliding_boxes(image.shape[1:], size=size, stride=max(1, round(self.step * size)))


@dataclass(frozen=True, kw_only=True)
class CentreSquare:
    """The square (cube) in the middle; `size` is its side in pixels."""

    size: int

    def __call__(self, image: Tensor) -> Regions:
        """Cut one image."""
        return centre_square(image.shape[1:], size=self.size)


@dataclass(frozen=True, kw_only=True)
class CentreSquareOfFraction:
    """The square (cube) in the middle; `fraction` is its side over the shortest axis, in (0, 1]."""

    fraction: float = 0.5

    def __call__(self, image: Tensor) -> Regions:
        """Cut one image."""
        return centre_square_of_fraction(image.shape[1:], fraction=self.fraction)


@dataclass(frozen=True)
class Quadrants:
    """Four quarters of a picture, eight octants of a volume."""

    def __call__(self, image: Tensor) -> Regions:
        """Cut one image."""
        return quadrants(image.shape[1:])


@dataclass(frozen=True, kw_only=True)
class Ring:
    """The ring (shell) around the centre, its radii in halves of the shortest axis."""

    inner: float = 0.5
    outer: float = 1.0

    def __call__(self, image: Tensor) -> Regions:
        """Cut one image."""
        return ring(image.shape[1:], inner=self.inner, outer=self.outer)


class SeveralMasks:
    """Given masks of several rules together: a centre square and a ring, say.

    Args:
        rules: each of them gives masks (`CentreSquare`, `CentreSquareOfFraction`, `Quadrants`, `Ring`, or boxes).

    Raises:
        ConfigError: no rule.
    """

    def __init__(self, rules: Sequence[RegionRule]) -> None:
        if not rules:
            raise ConfigError(["explain.regions.rules: no rule; give at least one, as explain/regions=quadrants does"])
        self.rules = tuple(rules)

    def __call__(self, image: Tensor) -> Regions:
        """Cut one image."""
        found = [rule(image) for rule in self.rules]
        names = [name for regions in found for name in regions.names]
        return MaskRegions(names, torch.cat([regions.masks(0, len(regions)).cpu() for regions in found]))
