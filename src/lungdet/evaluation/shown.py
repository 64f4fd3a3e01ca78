"""What a person is shown of a row: three planes of a CT crop, or the whole image. A loader turns rows into these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import ShapeError
from lungdet.evaluation.views import View, orthogonal_views

CropLoader = Callable[[Any], tuple[npt.NDArray[np.int16], tuple[float, float, float], tuple[float, ...]]]
"""One row of the predictions table -> (int16 [D, H, W] HU, spacing_zyx_mm, nine direction cosines)."""

ImageLoader = Callable[[Any], npt.NDArray[np.uint8]]
"""One row of the predictions table -> uint8 [H, W] or [H, W, 3]."""


@dataclass(frozen=True)
class WholeImage:
    """A stored image.

    Attributes:
        pixels: uint8 [H, W], grey, or [H, W, 3], red, green, blue.

    Raises:
        ShapeError: another shape or type.
    """

    pixels: npt.NDArray[np.uint8] = field(repr=False)

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or 0 in shape:
            raise ShapeError(
                f"a picture is uint8 [H, W] or [H, W, 3] with at least one pixel, got {self.pixels.dtype} {shape}"
            )


PictureLoader = Callable[[Any], tuple[View | WholeImage, ...]]
"""One row of the predictions table -> its pictures."""


def crop_pictures(load_crop: CropLoader) -> PictureLoader:
    """Axial, coronal and sagittal plane through the middle of each row's crop."""
    return lambda row: orthogonal_views(*load_crop(row))


def image_pictures(load_image: ImageLoader) -> PictureLoader:
    """Each row's image, as it is stored."""
    return lambda row: (WholeImage(load_image(row)),)
