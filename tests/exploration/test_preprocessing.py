"""How often a frame is cut, by class, against hand counts; the figure with every step of real preprocessing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lungdet.exploration.content import Words
from lungdet.exploration.image_survey import survey_originals
from lungdet.exploration.preprocessing import about_cuts, cuts_by_class, preprocessing_section
from lungdet.store.dark_frame import DarkFrame
from lungdet.store.image_preprocess import ImageSpec

WORDS = Words(("normal", "pneumonia"), "chest X-ray", "chest X-rays")
SPEC = ImageSpec(size_hw=(32, 32), fit="pad", dark_frame=DarkFrame(keep_px=0))


def xray(name: str) -> npt.NDArray[np.uint8]:
    """`0-..` (normal) has a frame of ten columns on the left, `1-..` has none."""
    image = np.random.default_rng(int(name[2:])).integers(90, 200, (100, 120), dtype=np.uint8)
    if name[0] == "0":
        image[:, :10] = 0
    return image


@pytest.fixture(scope="module")
def images() -> pd.DataFrame:
    table = pd.DataFrame({"image_id": [f"{label}-{n}" for n in range(60) for label in range(2)]})
    table["label"] = table["image_id"].str[0].astype(int)
    table["patient_id"] = table["image_id"]
    survey = survey_originals(table, xray, classes=WORDS.classes, n_channels=1, preprocess=SPEC)
    return survey.images.merge(table, on="image_id")


def test_cuts_are_counted_by_class_and_side(images: pd.DataFrame) -> None:
    counted = cuts_by_class(images, WORDS)
    assert counted.loc["normal"].to_dict() == pytest.approx(
        {"images": 60, "cut": 1.0, "top": 0, "bottom": 0, "left": 1.0, "right": 0, "area": 10 / 120}
    )
    assert counted["cut"]["pneumonia"] == 0
    assert np.isnan(counted["area"]["pneumonia"])
    (finding,) = about_cuts(counted)
    assert finding.kind == "warning"
    assert finding.text.startswith("A dark frame is cut off 100% of normal, 0% of pneumonia: cropping depends")


def test_equal_or_few_cuts_are_no_finding(images: pd.DataFrame) -> None:
    assert list(about_cuts(cuts_by_class(images.iloc[:90], WORDS))) == [], "45 images of a class are few"
    assert list(about_cuts(cuts_by_class(images[images["label"] == 0].assign(label=np.arange(60) % 2), WORDS))) == []


def test_the_figure_shows_every_step_of_some_images(images: pd.DataFrame) -> None:
    section = preprocessing_section(images, xray, SPEC, WORDS, n_channels=1, n_shown=5, seed=0)
    (drawing,) = section.drawings
    assert drawing.has_pictures
    axes = np.array(drawing.figure.axes).reshape(5, 6)
    titles = [row[0].get_title(loc="left") for row in axes]
    assert [title.split(":")[0] for title in titles] == ["normal"] * 3 + ["pneumonia"] * 2
    name = titles[0].split(": ")[1]
    original, profile, cropped, resized, stored, mask = axes[0]
    np.testing.assert_array_equal(original.images[0].get_array(), xray(name))
    (box,) = original.patches
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (9.5, -0.5, 110, 100)
    assert cropped.images[0].get_array().shape == (100, 110)
    assert resized.images[0].get_array().shape == (29, 32)
    assert stored.images[0].get_array().shape == (32, 32)
    assert mask.get_title(loc="left") == "9.4% filled", "three of 32 rows"
    dashed = [line for line in profile.lines if line.get_linestyle() == "--"]
    assert [line.get_ydata()[0] for line in dashed] == [0.9]
    assert section.record["cut"]["normal"]["left"] == 1.0
    assert section.record["spec"] == SPEC.to_dict()


def test_without_a_frame_there_is_neither_profile_nor_count(images: pd.DataFrame) -> None:
    spec = ImageSpec(size_hw=(32, 32), dark_frame=None)
    section = preprocessing_section(images, xray, spec, WORDS, n_channels=1, n_shown=2, seed=0)
    assert len(section.drawings[0].figure.axes) == 2 * 3, "original, resized, stored; nothing is filled"
    assert (section.tables, section.findings) == ((), ())


def test_images_that_are_stored_as_they_are_need_no_figure(images: pd.DataFrame) -> None:
    spec = ImageSpec(size_hw=(100, 120), dark_frame=None)
    section = preprocessing_section(images, xray, spec, WORDS, n_channels=1, n_shown=2, seed=0)
    assert section.drawings == ()
    assert "stored as they are" in section.text
    assert preprocessing_section(images, xray, SPEC, WORDS, n_channels=1, n_shown=0, seed=0).drawings == ()
