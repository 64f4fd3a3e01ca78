"""The page of an exploration: self-contained, warnings first, numbers readable, no blank render."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.pages import Page, assert_renders, assert_self_contained

from lungdet.evaluation.page import EN_DASH, MINUS
from lungdet.exploration.content import Exploration
from lungdet.exploration.page import cell_text, render_page, shrunk


@pytest.fixture(scope="module")
def html(exploration: Exploration) -> str:
    return render_page(exploration)


def test_nothing_outside_is_needed(html: str) -> None:
    assert_self_contained(html)


def test_every_section_and_picture_is_there(html: str) -> None:
    page = Page(html)
    for word in ("x <rays> & more", "6 images of 3 patients.", "bad.png: damaged", "pneu<monia>, images", "60 x 80"):
        assert word in page.text
    assert {"first", "classes", "samples", "samples-normal", "preprocessing", "unreadable", "provenance"} <= set(
        page.ids
    )
    assert sum(reference.startswith("data:image/png") for reference in page.references) == 4, (
        "three samples, one figure"
    )


def test_warnings_come_first(html: str) -> None:
    text = Page(html).text
    assert text.index("1 of 7 images cannot be read") < text.index("Images and patients of each class")


def test_cells() -> None:
    assert [cell_text(value) for value in (1341, 12, "train", 0.0, 1.0)] == ["1,341", "12", "train", "0", "1"]
    assert [cell_text(value) for value in (-850.04, 12.345, 123.45, 0.74361)] == [
        f"{MINUS}850.0",
        "12.35",
        "123.5",
        "0.744",
    ]
    assert cell_text(float("nan")) == EN_DASH


def test_large_pictures_are_shrunk_and_small_ones_are_not() -> None:
    assert shrunk(np.zeros((300, 600, 3), np.uint8), most=200).shape == (100, 200, 3)
    assert shrunk(np.zeros((30, 60), np.uint8), most=200).shape == (30, 60)
    assert shrunk(np.zeros((1, 5000), np.uint8), most=200).shape == (1, 200)
    checks = (np.indices((400, 400)).sum(axis=0) % 2 * 200).astype(np.uint8)
    np.testing.assert_array_equal(shrunk(checks, most=200), 100)


def test_it_renders(html: str, tmp_path: Path) -> None:
    page = tmp_path / "explore.html"
    page.write_text(html)
    assert_renders(page, tmp_path, width=1200, height=2300)
