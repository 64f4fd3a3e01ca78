"""A picture is measured in mm, its marks are true, and a card says what became of the candidate."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from lungdet.evaluation.gallery import Gallery, GalleryItem
from lungdet.evaluation.gallery_page import gallery_cards, probability_text
from lungdet.evaluation.views import View

ROW = {
    "series_uid": "1.2.3",
    "patient_id": "LIDC-IDRI-0001",
    "candidate_id": 7,
    "center_x_mm": -12.34,
    "center_y_mm": 5.0,
    "center_z_mm": -100.06,
    "label": 1,
    "diameter_mm": 6.25,
    "logit": 1.0,
    "probability": 0.731,
}


def card(item: GalleryItem) -> dict[str, Any]:
    (row,) = gallery_cards(Gallery("hits", "Hits", "", (item,)))["rows"]
    return dict(row)


@pytest.mark.parametrize(
    ("label", "called", "tag"),
    [
        (1, True, ("found", "fine")),
        (1, False, ("missed", "bad")),
        (0, True, ("false call", "bad")),
        (0, False, ("rightly not called", "fine")),
        (1, None, ("", "")),
    ],
)
def test_tag(label: int, called: bool | None, tag: tuple[str, str]) -> None:
    shown = card(GalleryItem({**ROW, "label": label}, called))
    assert (shown["tag"], shown["tag_class"]) == tag


def test_card_texts() -> None:
    shown = card(GalleryItem(ROW, True, problem="gone"))
    assert shown["center"] == "-12.3, 5.0, -100.1"
    assert shown["size"] == "6.2 mm"
    assert shown["problem"] == "gone"
    assert card(GalleryItem({**ROW, "diameter_mm": math.nan}, True))["size"] == ""


def test_picture_is_in_mm_with_the_cross_in_the_middle() -> None:
    """41 x 61 pixels of 0.5 mm: 20.5 mm high, 30.5 mm wide."""
    view = View("coronal", np.zeros((41, 61), np.float32), 0.5, ("H", "F", "R", "L"))
    shown = card(GalleryItem(ROW, True, (view,)))
    (picture,) = shown["views"]
    assert (picture["width_mm"], picture["height_mm"]) == ("30.5", "20.5")
    assert re.fullmatch(r"M[\d.]+ [\d.]+h10", picture["scale_bar"])
    ends = np.array([[float(v) for v in re.split("[ML ]", arm)[1:]] for arm in picture["crosshair"]])
    np.testing.assert_allclose(ends.reshape(-1, 2).mean(axis=0), (15.25, 10.25), atol=0.01)
    inner = np.hypot(ends[:, 0] - 15.25, ends[:, 1] - 10.25)
    assert (inner > 2).all(), "the middle stays free"
    places = {letter["text"]: (float(letter["x"]), float(letter["y"])) for letter in picture["letters"]}
    assert places["H"][1] < 5 < 15 < places["F"][1]
    assert places["R"][0] < 5 < 25 < places["L"][0]


def test_probabilities_near_the_ends_keep_their_digits() -> None:
    assert [probability_text(p) for p in (0.0, 2e-5, 0.5, 0.999, 1.0)] == [
        "0.000",
        "2.0e-05",
        "0.500",
        "0.999",
        "1.000",
    ]
    assert probability_text(1 - 2.5e-6) == "1 \u2212 2.5e-06"
