"""The ways of explaining that a configuration names (`explain=...`): images -> what each part of them is worth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lungdet.errors import ConfigError
from lungdet.explain.fill_rules import FillRule
from lungdet.explain.fills import Fill
from lungdet.explain.gradients import grad_cam, integrated_gradients
from lungdet.explain.heat_map import drop_density, pixel_drops, region_sums
from lungdet.explain.layers import last_convolution, named_layer
from lungdet.explain.occlusion import Drops, occlude
from lungdet.explain.ranking import RankedBy, importance_of
from lungdet.explain.region_rules import RegionRule
from lungdet.explain.regions import Regions
from lungdet.explain.scores import Classifier


@dataclass(frozen=True)
class Attribution:
    """What one image's parts are worth for its true class.

    Args:
        importance: float64 [K], what parts are ranked by.
        pixels: float32 [*space], the map to look at, signed; NaN where nothing is known.
        density: float32 [*space], the map to integrate: it sums to what all parts are worth.
        drops: what occluding each part did, where that was measured.
        gap: see `IntegratedGradients.gap` of `lungdet.explain.gradients`; None for other methods.
    """

    importance: npt.NDArray[np.float64]
    pixels: Tensor
    density: Tensor
    drops: Drops | None = None
    gap: float | None = None


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """What all methods have in common.

    Args:
        name: of the folder that the explanations go to.
        regions: how an image is cut into parts.
        fill: what stands in for a part that is taken away.
        batch_size: changed images per forward pass.

    Raises:
        ConfigError: no batch size, or a name that is no folder's.
    """

    name: str
    regions: RegionRule
    fill: FillRule
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError([f"explain.batch_size={self.batch_size} must be at least 1"])
        if not self.name or any(sign in self.name for sign in "/\\") or self.name.startswith("."):
            raise ConfigError([f"explain.name={self.name!r} names a folder; use letters, digits, - and _"])

    @property
    @abstractmethod
    def unit(self) -> str:
        """What `Attribution.importance` is, in words for a page."""

    @property
    def measures_drops(self) -> bool:
        """Whether attributing occludes every part anyway."""
        return False

    @abstractmethod
    def attribute(
        self, classifier: Classifier, images: Tensor, *, classes: Tensor, regions: Sequence[Regions], fill: Fill
    ) -> list[Attribution]:
        """Explain images.

        Args:
            classifier: on the device of the images.
            images: float32 [B, C, H, W] or [B, C, D, H, W], as the network takes them.
            classes: int64 [B], the true class of each.
            regions: the parts of each.
            fill: `self.fill`, resolved.
        """


@dataclass(frozen=True, kw_only=True)
class Occlusion(Method):
    """Every part is replaced in turn; see `lungdet.explain.occlusion`.

    Args:
        rank_by: what importance is: `drop` (signed), `abs_drop`, or `drop_per_percent` (of the image's area).
    """

    rank_by: RankedBy = "drop"

    @property
    def unit(self) -> str:
        """What importance is."""
        return {
            "drop": "drop of p(true class)",
            "abs_drop": "size of the drop of p(true class)",
            "drop_per_percent": "drop of p(true class) per 1 % of the area",
        }[self.rank_by]

    @property
    def measures_drops(self) -> bool:
        """Yes."""
        return True

    def attribute(
        self, classifier: Classifier, images: Tensor, *, classes: Tensor, regions: Sequence[Regions], fill: Fill
    ) -> list[Attribution]:
        """Explain images."""
        found = occlude(
            classifier.probability,
            images,
            classes=classes,
            regions=regions,
            fill=fill,
            batch_size=self.batch_size,
            windows=classifier.windows,
        )
        return [
            Attribution(
                importance=importance_of(parts, drops, by=self.rank_by),
                pixels=pixel_drops(parts, drops),
                density=drop_density(parts, drops),
                drops=drops,
            )
            for parts, drops in zip(regions, found, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class GradCam(Method):
    """Grad-CAM, added up over parts; see `lungdet.explain.gradients`.

    Args:
        layer: name of a module in the network; None for the convolution before the pooling.
    """

    layer: str | None = None

    @property
    def unit(self) -> str:
        """What importance is."""
        return "Grad-CAM, sum over the part"

    def attribute(
        self, classifier: Classifier, images: Tensor, *, classes: Tensor, regions: Sequence[Regions], fill: Fill
    ) -> list[Attribution]:
        """Explain images."""
        name = self.layer or last_convolution(classifier.single_look, images[:1])
        layer = named_layer(classifier.single_look, name)
        maps = grad_cam(classifier.single_logit, images, classes=classes, layer=layer, batch_size=self.batch_size)
        return [_of_pixels(parts, pixels) for parts, pixels in zip(regions, maps, strict=True)]


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(Method):
    """Integrated gradients from the fill to the image, added up over parts; see `lungdet.explain.gradients`.

    Args:
        n_steps: points on the way.
    """

    n_steps: int = 50

    @property
    def unit(self) -> str:
        """What importance is."""
        return "integrated gradients of the logit, sum over the part"

    def attribute(
        self, classifier: Classifier, images: Tensor, *, classes: Tensor, regions: Sequence[Regions], fill: Fill
    ) -> list[Attribution]:
        """Explain images."""
        found = integrated_gradients(
            classifier.logit, images, classes=classes, fill=fill, n_steps=self.n_steps, batch_size=self.batch_size
        )
        return [
            _of_pixels(parts, pixels, gap=float(gap))
            for parts, pixels, gap in zip(regions, found.attribution, found.gap, strict=True)
        ]


def _of_pixels(regions: Regions, pixels: Tensor, *, gap: float | None = None) -> Attribution:
    pixels = pixels.cpu()
    return Attribution(importance=region_sums(regions, pixels), pixels=pixels, density=pixels, gap=gap)
