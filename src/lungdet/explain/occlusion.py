"""Occlusion: how much the probability of the true class drops when one part of the image is replaced by a fill.

Reference: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014,
doi:10.1007/978-3-319-10590-1_53.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from lungdet.explain.fills import Fill
from lungdet.explain.masked_scores import masked_scores, plain_scores
from lungdet.explain.regions import Regions
from lungdet.explain.scores import ClassScore
from lungdet.explain.window_scores import WindowProbability

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drops:
    """What occlusion found in one image.

    Args:
        original: p_true of the image as it is.
        occluded: float64 [K], p_true with each part replaced in turn.
    """

    original: float
    occluded: FloatArray

    @property
    def drop(self) -> FloatArray:
        """float64 [K], signed: positive where the part spoke for the true class, negative where against it."""
        return self.original - self.occluded


def occlude(
    probability: ClassScore,
    images: Tensor,
    *,
    classes: Tensor,
    regions: Sequence[Regions],
    fill: Fill,
    batch_size: int = 16,
    windows: WindowProbability | None = None,
) -> list[Drops]:
    """Occlude every part of every image in turn, `batch_size` occluded images per forward pass.

    Args:
        probability: p of the class asked for (`scores.class_probability`).
        images: float32 [B, C, H, W] or [B, C, D, H, W], as the network takes them.
        classes: int64 [B], the true class of each.
        regions: the parts of each image; the same object may serve all.
        fill: what replaces a part.
        batch_size: occluded images per forward pass, of one image or several.
        windows: gives the same probabilities of occluded images and computes only what a part changes; None asks
            `probability` about whole images.

    Returns:
        One `Drops` per image, its parts in the order of `regions`.

    Raises:
        ConfigError: no batch size, or a network in training mode.
        ShapeError: shapes or numbers that do not fit each other.
    """
    originals = plain_scores(probability, images, classes=classes, batch_size=batch_size)
    ask = functools.partial(masked_scores, probability) if windows is None else windows
    occluded = ask(images, classes=classes, sources=regions, fill_images=fill(images), batch_size=batch_size)
    return [
        Drops(original=float(original), occluded=after.double().numpy())
        for original, after in zip(originals, occluded, strict=True)
    ]
