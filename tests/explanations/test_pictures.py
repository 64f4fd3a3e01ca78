from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from lungdet.explanations.pictures import HeatMapChoice, Panel, blended, image_panels, volume_panels

POSITIVE = HeatMapChoice("positive", 1.0)


def pixels_of(panel: Panel) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(panel.png.partition(",")[2]))))


def test_nothing_is_painted_where_nothing_is_known_or_worth() -> None:
    rgb = np.full((2, 2, 3), 100, np.uint8)
    found = blended(rgb, np.array([[0, np.nan], [1, -1]], np.float32))
    assert found[0].tolist() == [[100] * 3] * 2
    warm, cold = found[1].astype(int)
    assert warm[0] > 180 > warm[2]
    assert cold[2] > 150 > cold[0]


def test_a_grey_image_and_its_map() -> None:
    image = np.full((1, 8, 16), 0.5, np.float32)
    heat = np.zeros((8, 16), np.float32)
    heat[:4, :4] = 2.0
    outlined = np.zeros((1, 8, 16), np.bool_)
    outlined[0, :4, :4] = True
    plain, over = image_panels(image, heat, outlined, choice=POSITIVE)
    assert (plain.width, plain.height) == (224, 112), "enlarged by whole pixels"
    assert np.unique(pixels_of(plain)).tolist() == [128]
    shown = pixels_of(over)
    assert shown[100, 200].tolist() == [128] * 3
    assert shown[56 - 1, 20].tolist() == [255] * 3, "the outline of the best part"
    assert shown[20, 20, 0] > shown[20, 20, 2] + 60
    assert [text.words for text in over.texts] == ["1"]
    assert 0 < over.texts[0].x < 56


@pytest.mark.parametrize(("low", "high"), [(-2.0, 3.0), (0.0, 1.0)])
def test_colours_stay_and_standardised_images_are_stretched(low: float, high: float) -> None:
    image = np.zeros((3, 300, 4), np.float32)
    image[1:] = low
    image[0] = high
    plain, _ = image_panels(image, np.zeros((300, 4), np.float32), np.zeros((0, 300, 4), np.bool_), choice=POSITIVE)
    assert pixels_of(plain).shape == (300, 4, 3)
    assert np.unique(pixels_of(plain).reshape(-1, 3), axis=0).tolist() == [[255, 0, 0]]


def test_three_planes_of_a_volume_stand_as_radiologists_expect() -> None:
    """A scan whose x runs to the right of the patient: what lies left in the array is shown on the right."""
    hu = np.full((9, 11, 13), -800, np.int16)
    heat = np.zeros(hu.shape, np.float32)
    heat[4, 5, 1] = 1.0  # first in x
    panels = volume_panels(
        hu, heat, heat[None] > 0, spacing_zyx_mm=(1, 1, 1), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1), choice=POSITIVE
    )
    assert [panel.name for panel in panels][::3] == ["axial", "axial, heat map"]
    assert len(panels) == 6
    shown = pixels_of(panels[3]).astype(int)
    warm = np.argwhere(shown.max(-1) - shown.min(-1) > 0)
    assert len(warm) or (shown == 255).all(-1).any()
    assert all(x > 0.75 * shown.shape[1] for _, x in np.argwhere((shown != shown[0, 0]).any(-1)))
    assert {text.words for text in panels[0].texts} == {"A", "P", "R", "L"}
    assert [text.words for text in panels[3].texts] == ["1"]
    assert [text.words for text in panels[5].texts] == [], "the part does not cross the sagittal plane"
