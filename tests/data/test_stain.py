from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import skimage.color
import torch
from torch import Tensor
from torchvision.transforms import v2

from lungdet.data.image_augment import ImageAugmentation, sample_seeds
from lungdet.data.stain import REFERENCE_AMOUNTS, REFERENCE_STAINS, MacenkoNormalise, StainJitter, stained
from lungdet.errors import ConfigError, ShapeError

FloatArray = npt.NDArray[np.float64]


def unit(*vector: float) -> FloatArray:
    array: FloatArray = np.array(vector) / np.linalg.norm(vector)
    return array


HAEMATOXYLIN, EOSIN = unit(0.62, 0.66, 0.42), unit(0.30, 0.90, 0.30)


def amounts_of(kind: str, *, size: int = 96) -> FloatArray:
    """How much haematoxylin and eosin is where: [2, size, size]. A third each of one, the other and a mixture."""
    random = np.random.default_rng(3)
    both = random.uniform(0.6, 1.6, (2, size, size))
    third = random.integers(0, 3, (size, size))
    if kind == "tissue":
        both[0][third == 0] = 0
        both[1][third == 1] = 0
    elif kind == "eosin":
        both[0] = 0
    return both


def mixed(amounts: FloatArray, *vectors: FloatArray, white: float = 240.0) -> Tensor:
    density = np.einsum("sc,shw->chw", np.stack(vectors), amounts)
    return torch.from_numpy(np.rint(white * np.exp(-density)).clip(0, 255).astype(np.uint8))


def angle_deg(a: FloatArray, b: FloatArray) -> float:
    return math.degrees(math.acos(min(1.0, float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b)))))


def test_known_stains_are_found_again() -> None:
    amounts = amounts_of("tissue")
    found = MacenkoNormalise().find(mixed(amounts, HAEMATOXYLIN, EOSIN))
    assert found is not None
    assert angle_deg(found.vectors[0], HAEMATOXYLIN) < 1
    assert angle_deg(found.vectors[1], EOSIN) < 1
    assert np.allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-6)
    assert np.allclose(found.amounts, np.percentile(amounts.reshape(2, -1), 99, axis=1), rtol=0.03)


def test_haematoxylin_comes_first_whichever_there_is_more_of() -> None:
    amounts = amounts_of("tissue")
    for factors in ((1.0, 0.6), (0.5, 1.2)):
        found = MacenkoNormalise().find(mixed(amounts * np.array(factors)[:, None, None], HAEMATOXYLIN, EOSIN))
        assert found is not None
        assert angle_deg(found.vectors[0], HAEMATOXYLIN) < 3


def test_patches_of_two_slides_become_one_colour() -> None:
    amounts, normalise = amounts_of("tissue"), MacenkoNormalise()
    purple = mixed(amounts, unit(0.55, 0.75, 0.36), unit(0.20, 0.95, 0.25))
    pink = mixed(0.6 * amounts, HAEMATOXYLIN, EOSIN)
    # Reference stains, each with its reference amount at the 99th percentile.
    scaled = amounts * (np.array(REFERENCE_AMOUNTS) / np.percentile(amounts.reshape(2, -1), 99, axis=1))[:, None, None]
    expected = mixed(scaled, *map(np.array, REFERENCE_STAINS)).float()
    assert (purple.float() - pink.float()).abs().mean() > 15
    for image in (purple, pink):
        assert (image.float() - expected).abs().mean() > 15
        assert (normalise(image).float() - expected).abs().mean() < 3


@pytest.mark.parametrize(
    "image",
    [
        torch.full((3, 96, 96), 255, dtype=torch.uint8),
        torch.zeros((3, 96, 96), dtype=torch.uint8),
        torch.full((3, 96, 96), 128, dtype=torch.uint8),
        mixed(amounts_of("eosin"), HAEMATOXYLIN, EOSIN),
        torch.zeros((3, 1, 1), dtype=torch.uint8),
    ],
    ids=["white", "black", "grey", "one stain", "one pixel"],
)
def test_a_patch_whose_stains_cannot_be_told_is_left_as_it_is(image: Tensor) -> None:
    assert torch.equal(MacenkoNormalise()(image), image)


def test_mostly_glass_is_left_as_it_is() -> None:
    """Its faint tint would be multiplied."""
    image = mixed(amounts_of("tissue"), HAEMATOXYLIN, EOSIN)
    image[:, 8:] = 225
    assert torch.equal(MacenkoNormalise()(image), image)


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


def test_they_fit_into_transforms_of_torchvision() -> None:
    patches = mixed(amounts_of("tissue", size=32), HAEMATOXYLIN, EOSIN)[None].repeat(4, 1, 1, 1)
    chain = v2.Compose([MacenkoNormalise(), v2.RandomApply([StainJitter(scale=0.2, shift=0.1)], p=1.0)])
    made = ImageAugmentation([chain]).apply(patches, sample_seeds(np.arange(4), seed=0, epoch=0))
    assert len({image.numpy().tobytes() for image in made}) == 4


@pytest.mark.parametrize("transform", [MacenkoNormalise(), StainJitter()])
def test_grey_images_have_no_stains(transform: MacenkoNormalise | StainJitter) -> None:
    with pytest.raises(ShapeError, match=r"stains are of colour images .* \[1, 4, 4\]"):
        transform(torch.zeros((1, 4, 4), dtype=torch.uint8))


def test_values_out_of_range_are_all_named() -> None:
    with pytest.raises(ConfigError) as raised:
        MacenkoNormalise(stains=[[1, 2]], amounts=[0, 1], white=300, density_floor=-1, percentile=50)
    assert len(raised.value.problems) == 5
    with pytest.raises(ConfigError, match=r"scale=1\.0 must be from 0 to below 1"):
        StainJitter(scale=1.0)
