"""Macenko's normalisation finds known stains, brings slides to one colour and leaves alone what it cannot tell."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from lungdet.errors import StoreError
from lungdet.store.image_preprocess import ImageSpec, preprocess_image
from lungdet.store.stain import REFERENCE_AMOUNTS, REFERENCE_STAINS, MacenkoNormalise

FloatArray = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


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


def mixed(amounts: FloatArray, *vectors: FloatArray, white: float = 240.0) -> Pixels:
    density = np.einsum("sc,shw->hwc", np.stack(vectors), amounts)
    pixels: Pixels = np.rint(white * np.exp(-density)).clip(0, 255).astype(np.uint8)
    return pixels


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
    expected = mixed(scaled, *map(np.array, REFERENCE_STAINS)).astype(float)
    assert np.abs(purple - pink.astype(float)).mean() > 15
    for image in (purple, pink):
        assert np.abs(image - expected).mean() > 15
        assert np.abs(normalise(image) - expected).mean() < 3


@pytest.mark.parametrize(
    "image",
    [
        np.full((96, 96, 3), 255, np.uint8),
        np.zeros((96, 96, 3), np.uint8),
        np.full((96, 96, 3), 128, np.uint8),
        mixed(amounts_of("eosin"), HAEMATOXYLIN, EOSIN),
        np.zeros((1, 1, 3), np.uint8),
    ],
    ids=["white", "black", "grey", "one stain", "one pixel"],
)
def test_a_patch_whose_stains_cannot_be_told_is_left_as_it_is(image: Pixels) -> None:
    assert np.array_equal(MacenkoNormalise()(image), image)


def test_mostly_glass_is_left_as_it_is() -> None:
    """Its faint tint would be multiplied."""
    image = mixed(amounts_of("tissue"), HAEMATOXYLIN, EOSIN)
    image[8:] = 225
    assert np.array_equal(MacenkoNormalise()(image), image)


def test_a_spec_with_a_stain_stores_that_stain_and_comes_back_from_json() -> None:
    image = mixed(amounts_of("tissue"), HAEMATOXYLIN, EOSIN)
    plain = ImageSpec(size_hw=(96, 96), dark_frame=None)
    stained = ImageSpec(size_hw=(96, 96), dark_frame=None, stain=MacenkoNormalise(percentile=2))
    assert np.array_equal(preprocess_image(image, stained).stored, MacenkoNormalise(percentile=2)(image))
    assert np.array_equal(preprocess_image(image, plain).stored, image)
    assert stained.fingerprint != plain.fingerprint
    assert ImageSpec.from_dict(stained.to_dict()) == stained
    with pytest.raises(StoreError, match=r"stains are of colour images.*data\.store\.stain=null"):
        preprocess_image(image[..., 0], stained)


def test_values_out_of_range_are_all_named() -> None:
    with pytest.raises(StoreError) as raised:
        MacenkoNormalise(stains=[[1, 2]], amounts=[0, 1], white=300, density_floor=-1, percentile=50)
    assert str(raised.value).count("store.stain.") == 5
