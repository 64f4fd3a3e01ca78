"""The stain's jitter against scikit-image's separation, its limits, and what it does with grey images."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import skimage.color
import torch
from torch import Tensor

from lungdet.data.image_augment import ImageAugmentation, sample_seeds
from lungdet.data.stain import StainJitter, stained
from lungdet.errors import ConfigError, ShapeError

FloatArray = npt.NDArray[np.float64]


def test_jitter_is_scikit_images_separation_changed_and_combined() -> None:
    random = np.random.default_rng(0)
    # A patch of positive amounts only: scikit-image cuts negative ones off.
    positive = skimage.color.combine_stains(random.uniform(0.005, 0.05, (40, 30, 3)), skimage.color.rgb_from_hed)
    patch = np.rint(positive * 255).astype(np.uint8)
    scale, shift = np.array([1.2, 0.85, 1.1]), np.array([0.03, -0.02, 0.05])
    unit_of_skimage = -math.log(1e-6)
    hed = skimage.color.rgb2hed(patch) * scale + shift / unit_of_skimage
    expected = skimage.color.combine_stains(hed, skimage.color.rgb_from_hed) * 255
    made = stained(torch.from_numpy(patch).permute(2, 0, 1).contiguous(), scale=scale, shift=shift)
    assert np.abs(made.permute(1, 2, 0).numpy() - expected).max() <= 1.5


def test_scale_one_and_shift_zero_change_nothing() -> None:
    image = torch.randint(1, 256, (3, 50, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(stained(image, scale=[1, 1, 1], shift=[0, 0, 0]), image)
    assert torch.equal(StainJitter(scale=0, shift=0)(image), image)


def test_jitter_changes_each_stain_by_itself_within_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def remember(image: Tensor, *, scale: FloatArray, shift: FloatArray) -> Tensor:
        seen.append(np.concatenate([scale, shift]))
        return image

    monkeypatch.setattr("lungdet.data.stain.stained", remember)
    patches = torch.zeros((600, 3, 2, 2), dtype=torch.uint8)
    ImageAugmentation([StainJitter(scale=0.2, shift=0.03)]).apply(
        patches, sample_seeds(np.arange(600), seed=0, epoch=0)
    )
    drawn = np.stack(seen)
    lowest, highest = np.array([0.8] * 3 + [-0.03] * 3), np.array([1.2] * 3 + [0.03] * 3)
    assert (drawn >= lowest).all()
    assert (drawn <= highest).all()
    assert np.allclose(drawn.std(axis=0), (highest - lowest) / math.sqrt(12), rtol=0.1)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(6)).max() < 0.15


def test_each_sample_of_a_batch_gets_its_own() -> None:
    patches = torch.full((4, 3, 8, 8), 120, dtype=torch.uint8)
    made = ImageAugmentation([StainJitter(scale=0.2, shift=0.1)]).apply(
        patches, sample_seeds(np.arange(4), seed=0, epoch=0)
    )
    assert len({image.numpy().tobytes() for image in made}) == 4


def test_grey_images_have_no_stains() -> None:
    with pytest.raises(ShapeError, match=r"stains are of colour images .* \[1, 4, 4\]"):
        StainJitter()(torch.zeros((1, 4, 4), dtype=torch.uint8))


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"scale=1\.0 must be from 0 to below 1"):
        StainJitter(scale=1.0)
