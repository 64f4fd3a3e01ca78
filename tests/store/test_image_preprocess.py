"""Preprocessing of 2-D images: sizes, centring, padding and stages, by hand counts and by following single pixels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungdet.errors import ScanError, StoreError
from lungdet.io.image_file import read_image
from lungdet.store.dark_frame import DarkFrame
from lungdet.store.image_preprocess import ImageSpec, preprocess_image, scale_to_unit

Pixels = npt.NDArray[np.uint8]
PLAIN = ImageSpec(size_hw=(40, 40), dark_frame=None)


def noise(height: int, width: int, channels: int | None = None) -> Pixels:
    shape = (height, width) if channels is None else (height, width, channels)
    return np.random.default_rng(0).integers(60, 256, shape).astype(np.uint8)


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = noise(40, 40)
    for fit in ("cover", "pad"):
        stages = preprocess_image(image, dataclasses.replace(PLAIN, fit=fit))
        np.testing.assert_array_equal(stages.stored, image)
        assert not stages.pad_mask.any()
        assert stages.sides == {}


def test_cover_cuts_what_hangs_over_on_both_sides_alike() -> None:
    image = noise(40, 51)
    stages = preprocess_image(image, PLAIN)
    np.testing.assert_array_equal(stages.stored, image[:, 5:45])
    assert stages.shown_box == (0, 5, 40, 45)
    assert not stages.pad_mask.any()


def test_cover_shrinks_by_averaging() -> None:
    image = noise(160, 240)
    stages = preprocess_image(image, PLAIN)
    means = image.reshape(40, 4, 60, 4).mean(axis=(1, 3))
    assert stages.resized.shape == (40, 60)
    assert np.abs(stages.resized - means).max() <= 0.5
    np.testing.assert_array_equal(stages.stored, stages.resized[:, 10:50])


def test_pad_fills_by_reflection() -> None:
    image = noise(40, 31)
    stages = preprocess_image(image, dataclasses.replace(PLAIN, fit="pad"))
    np.testing.assert_array_equal(stages.stored[:, 4:35], image)
    np.testing.assert_array_equal(stages.stored[:, :4], image[:, 4:0:-1])  # columns 4, 3, 2, 1
    np.testing.assert_array_equal(stages.stored[:, 35:], image[:, 29:24:-1])
    expected = np.ones((40, 40), bool)
    expected[:, 4:35] = False
    np.testing.assert_array_equal(stages.pad_mask, expected)


def test_other_fillings_change_nothing_else() -> None:
    image = noise(20, 40, 3)
    spec = dataclasses.replace(PLAIN, fit="pad")
    black = preprocess_image(image, dataclasses.replace(spec, pad="black"))
    edge = preprocess_image(image, dataclasses.replace(spec, pad="edge"))
    assert not black.stored[black.pad_mask].any()
    np.testing.assert_array_equal(edge.stored[:10], np.broadcast_to(image[0], (10, 40, 3)))
    for stages in (black, edge):
        np.testing.assert_array_equal(stages.stored[~stages.pad_mask], image.reshape(-1, 3))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    st.sampled_from(["cover", "pad"]),
    st.sampled_from([None, 3]),
)
def test_every_size_becomes_the_size_and_keeps_its_aspect(
    height: int, width: int, size_hw: tuple[int, int], fit: Literal["cover", "pad"], channels: int | None
) -> None:
    spec = ImageSpec(size_hw=size_hw, fit=fit, dark_frame=None)
    stages = preprocess_image(noise(height, width, channels), spec)
    assert stages.stored.shape[:2] == stages.pad_mask.shape == size_hw
    assert stages.stored.ndim == (2 if channels is None else 3)
    assert stages.stored.dtype == np.uint8
    new_h, new_w = stages.resized.shape[:2]
    is_covering = new_h >= size_hw[0] and new_w >= size_hw[1]
    assert is_covering if fit == "cover" else new_h <= size_hw[0] and new_w <= size_hw[1]
    assert new_h == size_hw[0] or new_w == size_hw[1]
    # One factor for both sides, to half a pixel (or the one pixel that is the least).
    factor = max(size_hw[0] / height, size_hw[1] / width) if fit == "cover" else min(
        size_hw[0] / height, size_hw[1] / width)  # fmt: skip
    assert abs(new_h - height * factor) <= 0.5 or new_h == 1
    assert abs(new_w - width * factor) <= 0.5 or new_w == 1
    assert (~stages.pad_mask).sum() == min(new_h, size_hw[0]) * min(new_w, size_hw[1])


def test_enlarging_keeps_a_ramp() -> None:
    """A ramp stays one: no ringing, no shift of half a pixel."""
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (20, 1))
    stages = preprocess_image(ramp, PLAIN)
    expected = np.interp((np.arange(40) + 0.5) / 2 - 0.5, np.arange(20), ramp[0])
    assert np.abs(stages.stored[7].astype(float) - expected).max() <= 0.51


def test_frame_goes_first_and_all_stages_are_there() -> None:
    image = noise(100, 80)
    image[:10] = 0
    stages = preprocess_image(image, ImageSpec(size_hw=(46, 40)))
    assert stages.kept_box == (8, 0, 100, 80)
    np.testing.assert_array_equal(stages.original, image)
    np.testing.assert_array_equal(stages.cropped, image[8:])
    assert stages.resized.shape == (46, 40)
    assert stages.sides["top"].frame_lines == 10
    kept = preprocess_image(image, ImageSpec(size_hw=(50, 40), dark_frame=None))
    assert kept.kept_box == (0, 0, 100, 80)
    assert kept.stored[:4].max() == 0


def test_scaling() -> None:
    unit = scale_to_unit(np.array([[0, 51, 255]], np.uint8))
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit, np.array([[0, 0.2, 1]], np.float32))


def test_input_is_not_changed_and_not_shared() -> None:
    image = noise(40, 40)
    before = image.copy()
    preprocess_image(image, PLAIN).stored[...] = 0
    np.testing.assert_array_equal(image, before)


def test_fingerprint_follows_the_pixels() -> None:
    spec = ImageSpec()
    assert ImageSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    without = ImageSpec(dark_frame=None, fit="pad")
    assert ImageSpec.from_dict(json.loads(json.dumps(without.to_dict()))) == without
    assert spec.fingerprint == ImageSpec(size_hw=[224, 224]).fingerprint
    assert spec.fingerprint == ImageSpec(pad="black").fingerprint  # nothing is padded
    others = [
        ImageSpec(size_hw=(224, 225)),
        without,
        ImageSpec(fit="pad"),
        ImageSpec(fit="pad", pad="edge"),
        ImageSpec(dark_frame=None),
        ImageSpec(dark_frame=DarkFrame(keep_px=3)),
        ImageSpec(dark_frame=DarkFrame(threshold_grey=(10, 41))),
    ]
    assert len({s.fingerprint for s in [spec, *others]}) == 1 + len(others)


@pytest.mark.parametrize(
    ("name", "value"),
    [("size_hw", (0, 5)), ("size_hw", (5,)), ("size_hw", (5, 9000)), ("fit", "stretch"), ("pad", "x")],
)
def test_wrong_specs(name: str, value: Any) -> None:
    with pytest.raises(StoreError, match=rf"store\.{name}=.* must be"):
        ImageSpec(**{name: value})


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)],
)
def test_wrong_images(image: Any) -> None:
    with pytest.raises(ScanError, match=r"an image of "):
        preprocess_image(image, PLAIN)


@pytest.mark.realdata
def test_real_x_rays_lose_frames_and_little_else(realdata: Path) -> None:
    root = realdata / "chest_xray"
    if not root.is_dir():
        pytest.skip(f"no chest X-rays at {root}")
    spec = ImageSpec()
    for path in sorted(root.glob("train/*/*.jpeg"))[::80]:
        image = read_image(path, channels=1)
        stages = preprocess_image(image, spec)
        top, left, bottom, right = stages.kept_box
        lost = np.concatenate(
            [image[:top].ravel(), image[bottom:].ravel(), image[:, :left].ravel(), image[:, right:].ravel()]
        )
        assert lost.size == 0 or (lost <= 40).mean() >= 0.85, path.name
        assert min(bottom - top, right - left) >= 0.76 * 224
        assert stages.stored.shape == (224, 224)
