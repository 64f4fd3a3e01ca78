"""What a row shows: a CT crop in three planes, or its image as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.evaluation.conftest import synthetic_crop

from lungdet.errors import ShapeError
from lungdet.evaluation.shown import WholeImage, crop_pictures, image_pictures
from lungdet.evaluation.views import View


def test_a_crop_is_shown_in_three_planes() -> None:
    shown = crop_pictures(synthetic_crop)({"candidate_id": 1, "label": 0})
    assert [view.plane for view in shown if isinstance(view, View)] == ["axial", "coronal", "sagittal"]


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_an_image_is_shown_as_it_is(shape: tuple[int, ...]) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    asked = []

    def load_image(row: Any) -> np.ndarray:
        asked.append(row)
        return pixels

    (shown,) = image_pictures(load_image)("row 7")
    assert isinstance(shown, WholeImage)
    assert shown.pixels is pixels
    assert asked == ["row 7"]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 6, 4), np.uint8),
        np.zeros((4, 6, 1), np.uint8),
        np.zeros((4, 6), np.float32),
        np.zeros((0, 6), np.uint8),
        np.zeros(4, np.uint8),
    ],
)
def test_anything_else_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(ShapeError, match=r"a picture is uint8 \[H, W\] or \[H, W, 3\]"):
        WholeImage(pixels)
