"""A picture is measured in mm, and what is drawn on it lies where it should."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lungdet.evaluation.gallery import png_data_uri
from lungdet.evaluation.pictures import Picture, shown_picture, side_letters, view_picture
from lungdet.evaluation.shown import WholeImage
from lungdet.evaluation.views import View


@pytest.fixture
def view() -> View:
    """41 x 61 pixels of 0.5 mm: 20.5 mm high, 30.5 mm wide."""
    return View("coronal", np.full((41, 61), -300, np.float32), 0.5, ("H", "F", "R", "L"))


def arms(picture: Picture) -> np.ndarray:
    """Inner and outer end of each arm of the cross-hair: float64 [4, 2, 2]."""
    return np.array([[float(v) for v in re.split("[ML ]", arm)[1:]] for arm in picture.crosshair]).reshape(4, 2, 2)


def test_everything_is_in_mm(view: View) -> None:
    picture = view_picture(view, gap=0.1, outline="M1 1Z")
    assert (picture.plane, picture.width, picture.height, picture.outline) == ("coronal", 30.5, 20.5, "M1 1Z")
    assert re.fullmatch(r"M[\d.]+ [\d.]+h10", picture.scale_bar)
    assert picture.png == png_data_uri(np.full((41, 61), 128, np.uint8))  # half of -1000 to 400 HU, rounded to even


@pytest.mark.parametrize("gap", [0.1, 0.2])
def test_the_cross_leaves_its_middle_free(view: View, gap: float) -> None:
    """The shorter side is 20.5 mm; the arms end at 0.26 of it, 5.33 mm from the middle."""
    from_middle = arms(view_picture(view, gap=gap)) - (15.25, 10.25)
    np.testing.assert_allclose(from_middle.mean(axis=(0, 1)), 0, atol=0.01)
    reach = np.linalg.norm(from_middle, axis=-1)
    np.testing.assert_allclose(reach, [[gap * 20.5, 5.33]] * 4, atol=0.011)


def test_letters_stand_at_their_sides(view: View) -> None:
    places = {letter.words: (letter.x, letter.y) for letter in view_picture(view, gap=0.1).letters}
    assert places["H"][1] < 5 < 15 < places["F"][1]
    assert places["R"][0] < 5 < 25 < places["L"][0]
    assert places["H"][0] == places["F"][0] == 15.25


def test_a_low_picture_has_no_room_for_letters_above_and_below() -> None:
    edges = ("H", "F", "R", "L")
    assert [t.words for t in side_letters(edges, width=50, height=7.9, font=2)] == ["R", "L"]
    assert [t.words for t in side_letters(edges, width=50, height=8, font=2)] == ["H", "F", "R", "L"]


def test_a_whole_image_is_measured_in_pixels_and_has_nothing_drawn_on_it(view: View) -> None:
    pixels = np.zeros((20, 30, 3), np.uint8)
    picture = shown_picture(WholeImage(pixels), gap=0.1)
    assert (picture.plane, picture.width, picture.height, picture.png) == ("", 30, 20, png_data_uri(pixels))
    assert (picture.letters, picture.crosshair, picture.scale_bar, picture.outline) == ((), (), "", "")
    assert shown_picture(view, gap=0.1) == view_picture(view, gap=0.1)
