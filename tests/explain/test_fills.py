from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from scipy import ndimage

from lungdet.data.intensity import Window
from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.fills import (
    AIR_HU,
    LUNG_PARENCHYMA_HU,
    BlurFill,
    ConstantFill,
    ImageMeanFill,
    dataset_mean_fill,
    hu_fill,
)

PICTURES = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 2, 9, 7)).astype(np.float32))
VOLUMES = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 1, 5, 8, 6)).astype(np.float32))


@pytest.mark.parametrize("images", [PICTURES, VOLUMES], ids=["2-D", "3-D"])
def test_one_number_fills_everything(images: torch.Tensor) -> None:
    filled = ConstantFill((0.25,))(images)
    assert filled.shape == images.shape
    assert set(filled.flatten().tolist()) == {0.25}


def test_one_number_per_channel() -> None:
    filled = ConstantFill((1.0, -2.0))(PICTURES)
    assert (set(filled[:, 0].flatten().tolist()), set(filled[:, 1].flatten().tolist())) == ({1.0}, {-2.0})
    with pytest.raises(ShapeError, match=r"3 numbers for images of 2 channel"):
        ConstantFill((1.0, 2.0, 3.0))(PICTURES)
    with pytest.raises(ConfigError, match="finite"):
        ConstantFill((float("nan"),))


def test_the_mean_of_a_data_set_weighs_pixels_not_batches() -> None:
    fill = dataset_mean_fill(iter([PICTURES[:1], PICTURES[1:], PICTURES[:, :, :2]]))
    pixels = [np.concatenate([PICTURES[:, c].numpy().ravel(), PICTURES[:, c, :2].numpy().ravel()]) for c in (0, 1)]
    assert fill.values == pytest.approx([channel.mean(dtype=np.float64) for channel in pixels], abs=1e-9)
    with pytest.raises(ShapeError, match="at least one batch"):
        dataset_mean_fill([])


@pytest.mark.parametrize("hu", [AIR_HU, LUNG_PARENCHYMA_HU, 40.0, -3000.0, 3000.0])
@pytest.mark.parametrize("range_hu", [(-1000.0, 400.0), (-600.0, 200.0)])
@pytest.mark.parametrize("scale", ["unit", "hu"])
def test_a_hu_value_is_what_the_data_would_make_of_it(
    hu: float, range_hu: tuple[float, float], scale: Literal["unit", "hu"]
) -> None:
    expected = Window(range_hu=range_hu, scale=scale)(torch.tensor([hu]))
    assert hu_fill(hu, range_hu=range_hu, scale=scale).values == pytest.approx(expected.tolist())


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"such as \[-1000, 400\]"):
        hu_fill(AIR_HU, range_hu=(400.0, -1000.0))


def test_the_mean_of_each_channel_of_each_image() -> None:
    filled = ImageMeanFill()(PICTURES)
    assert filled.shape == PICTURES.shape
    assert filled[1, 1].flatten().tolist() == pytest.approx([PICTURES[1, 1].numpy().mean()] * 63)
    assert ImageMeanFill()(VOLUMES)[0].flatten().tolist() == pytest.approx([VOLUMES[0].numpy().mean()] * 240, abs=1e-6)


@pytest.mark.parametrize("images", [PICTURES, VOLUMES], ids=["2-D", "3-D"])
@pytest.mark.parametrize("sigma", [0.7, 2.0, 10.0])
def test_the_blur_is_that_of_scipy(images: torch.Tensor, sigma: float) -> None:
    blurred = BlurFill(sigma)(images)
    for image, ours in zip(images.flatten(0, 1), blurred.flatten(0, 1), strict=True):
        expected = ndimage.gaussian_filter(image.double().numpy(), sigma, mode="nearest")
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6)


def test_a_blur_has_a_width() -> None:
    with pytest.raises(ConfigError, match="sigma=0"):
        BlurFill(0)
