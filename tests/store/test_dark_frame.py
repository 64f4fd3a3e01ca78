"""Dark frames of known width, counted by hand, and what must not be taken for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.filters import threshold_otsu

from lungdet.errors import StoreError
from lungdet.store.dark_frame import SIDES, DarkFrame, frame_box, scan_side

Pixels = npt.NDArray[np.uint8]


def tissue(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(90, 200, (height, width)).astype(np.uint8)


def framed(height: int, width: int, *, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> Pixels:
    image = tissue(height, width)
    frame = np.random.default_rng(1).integers(0, 8, image.shape).astype(np.uint8)
    inside = np.zeros(image.shape, bool)
    inside[top : height - bottom, left : width - right] = True
    return np.where(inside, image, frame)


def test_each_side_is_cut_by_itself() -> None:
    """Widths less the two lines that are kept."""
    box, scans = frame_box(framed(300, 200, top=20, bottom=7, left=12, right=0), DarkFrame())
    assert [scans[side].frame_lines for side in SIDES] == [20, 7, 12, 0]
    assert [scans[side].cut_lines for side in SIDES] == [18, 5, 10, 0]
    assert box == (18, 10, 295, 200)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 24), st.integers(0, 24), st.integers(0, 18), st.integers(0, 18), st.integers(0, 4))
def test_frames_of_every_width(top: int, bottom: int, left: int, right: int, keep: int) -> None:
    widths = [n if n > 2 else 0 for n in (top, bottom, left, right)]  # the median of 5 lines hides 1 and 2
    image = framed(200, 150, **dict(zip(SIDES, (top, bottom, left, right), strict=True)))
    _, scans = frame_box(image, DarkFrame(keep_px=keep))
    seen = [scans[side].frame_lines for side in SIDES]
    for n, (given_width, expected) in enumerate(zip((top, bottom, left, right), widths, strict=True)):
        # Lines at the image's edge count several times for the median, so that thin frames may be seen.
        assert seen[n] == expected or (given_width <= 2 and seen[n] == given_width), (SIDES[n], seen[n])
        assert scans[SIDES[n]].cut_lines == max(0, seen[n] - keep)


def test_no_more_than_12_percent_a_side() -> None:
    box, scans = frame_box(framed(200, 100, top=60, left=30), DarkFrame(keep_px=0))
    assert box == (24, 12, 200, 100)
    assert len(scans["top"].dark_share) == 24
    box, _ = frame_box(np.zeros((200, 100), np.uint8), DarkFrame(keep_px=0))
    assert box == (24, 12, 176, 88)


@pytest.mark.parametrize(
    "image",
    [
        tissue(100, 100),
        np.full((100, 100), 128, np.uint8),
        np.full((100, 100), 255, np.uint8),
        np.full((100, 100), 60, np.uint8),
        tissue(3, 3),
        tissue(1, 1),
        np.zeros((8, 8), np.uint8),
    ],
    ids=["tissue", "flat", "white", "dim", "small", "one pixel", "too small for a band"],
)
def test_no_frame_no_cut(image: Pixels) -> None:
    box, scans = frame_box(image, DarkFrame())
    assert box == (0, 0, *image.shape)
    assert set(scans) == set(SIDES)


def test_air_beside_the_patient_is_no_frame() -> None:
    """Dark over two thirds of the height, above the shoulders, is anatomy."""
    image = tissue(300, 300)
    image[:200, :30] = 5
    assert frame_box(image, DarkFrame())[0] == (0, 0, 300, 300)
    assert frame_box(image, DarkFrame(dark_share=0.6))[0][1] == 28


def test_bright_rim_and_letters_do_not_end_the_scan() -> None:
    image = framed(400, 300, top=30)
    image[:2] = 255  # film edge
    image[12:14, 40:120] = 255  # a line of text in the frame
    assert frame_box(image, DarkFrame())[1]["top"].frame_lines == 30
    image[12:18] = 255  # six bright lines end it
    assert frame_box(image, DarkFrame())[1]["top"].frame_lines == 12
    assert frame_box(image, DarkFrame(stop_after=7))[1]["top"].frame_lines == 30


def test_the_run_that_ends_the_scan_is_counted_exactly() -> None:
    image = framed(400, 300, top=30)
    image[12:17] = 255
    frame = DarkFrame(smooth_lines=1, stop_after=5)
    assert frame_box(image, frame)[1]["top"].frame_lines == 12
    assert frame_box(image, DarkFrame(smooth_lines=1, stop_after=6))[1]["top"].frame_lines == 30


def test_smoothing_hides_a_scratch_just_inside_the_image() -> None:
    image = framed(400, 300, top=10)
    image[13:15] = 0
    assert frame_box(image, DarkFrame())[1]["top"].frame_lines == 10
    assert frame_box(image, DarkFrame(smooth_lines=1))[1]["top"].frame_lines == 15


def test_dark_line_inside_the_image_is_out_of_reach() -> None:
    image = tissue(400, 300)
    image[20:28] = 0
    assert frame_box(image, DarkFrame())[0] == (0, 0, 400, 300)


def test_threshold_is_otsus_on_the_inverted_band() -> None:
    rng = np.random.default_rng(3)
    lines = rng.normal(70, 8, (200, 120)).clip(0, 255).astype(np.uint8)
    lines[:12] = rng.normal(15, 3, (12, 120)).clip(0, 255).astype(np.uint8)
    scan = scan_side(lines, DarkFrame(threshold_grey=(0, 255)))
    inverted = 255 - lines[:24]
    independent = inverted > threshold_otsu(inverted)  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(scan.dark_share, independent.mean(axis=1), atol=0.01)
    assert scan.frame_lines == 12
    assert scan_side(lines, DarkFrame(threshold_grey=(0, 5))).threshold_grey == 5
    assert scan_side(lines, DarkFrame(threshold_grey=(200, 255))).threshold_grey == 200


def test_colour_images_are_judged_by_their_luma() -> None:
    grey = framed(300, 200, top=20, right=9)
    assert frame_box(np.repeat(grey[..., None], 3, 2), DarkFrame())[0] == frame_box(grey, DarkFrame())[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("at_most", 0.5),
        ("at_most", 0),
        ("dark_share", 0),
        ("dark_share", 1.1),
        ("threshold_grey", (40, 10)),
        ("threshold_grey", (0, 256)),
        ("threshold_grey", (1,)),
        ("smooth_lines", 4),
        ("stop_after", 0),
        ("keep_px", -1),
    ],
)
def test_wrong_values(name: str, value: Any) -> None:
    with pytest.raises(StoreError, match=rf"store\.dark_frame\.{name}=.* must be"):
        DarkFrame(**{name: value})
