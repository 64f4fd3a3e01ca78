"""A card says what became of the candidate and shows its pictures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lungdet.evaluation.gallery import Gallery, GalleryItem
from lungdet.evaluation.gallery_page import gallery_cards
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


def test_each_view_becomes_a_picture() -> None:
    views = tuple(View(plane, np.zeros((41, 61), np.float32), 0.5, ("H", "F", "R", "L")) for plane in ("axial", "x"))
    shown = card(GalleryItem(ROW, True, views))["views"]
    assert [(picture.plane, picture.width, picture.height) for picture in shown] == [
        ("axial", 30.5, 20.5),
        ("x", 30.5, 20.5),
    ]
