"""Fills that depend on the data: the mean of a data set, and Hounsfield values as a window shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from torch import Tensor

from lungdet.errors import ConfigError
from lungdet.explain.fills import Fill, dataset_mean_fill, hu_fill


@dataclass(frozen=True)
class FillData:
    """What a fill may ask of the data.

    Attributes:
        training_batches: of how many training images, and a seed -> batches of that many, float32 [B, C, *space], as
            the network gets them.
        range_hu: the window in HU; None for images that are no CT.
        scale: see `lungdet.explain.fills.hu_fill`.
    """

    training_batches: Callable[[int, int], Iterable[Tensor]]
    range_hu: tuple[float, float] | None = None
    scale: Literal["unit", "hu"] = "unit"


@runtime_checkable
class NeedsData(Protocol):
    """A fill that is known once the data are open."""

    def of_data(self, data: FillData) -> Fill:
        """The fill itself."""


FillRule = Fill | NeedsData


@dataclass(frozen=True, kw_only=True)
class DatasetMeanFill:
    """The mean of every channel over training images.

    Args:
        n_images: how many are read, drawn by the seed; fewer where there are fewer.
        seed: of the draw.

    Raises:
        ConfigError: no image.
    """

    n_images: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_images < 1:
            raise ConfigError([f"explain.fill.n_images={self.n_images}: the mean needs at least one image"])

    def of_data(self, data: FillData) -> Fill:
        """The mean, read now."""
        return dataset_mean_fill(data.training_batches(self.n_images, self.seed))


@dataclass(frozen=True, kw_only=True)
class HounsfieldFill:
    """A value in HU: -1000 is air, -850 aerated lung."""

    hu: float

    def of_data(self, data: FillData) -> Fill:
        """The value as the window of the data shows it.

        Raises:
            ConfigError: the images are no CT.
        """
        if data.range_hu is None:
            raise ConfigError(
                [
                    f"explain.fill: {self.hu:g} HU needs CT, and this run was trained on pictures; type "
                    "explain/fill=dataset_mean, image_mean, constant or blur"
                ]
            )
        return hu_fill(self.hu, range_hu=data.range_hu, scale=data.scale)


def resolved(rule: FillRule, data: FillData) -> Fill:
    """The fill that a configuration means."""
    return rule.of_data(data) if isinstance(rule, NeedsData) else rule
