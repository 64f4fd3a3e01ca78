"""Sections on images: pictures that can be read, histograms and moments, sizes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import MissingFileError
from lungdet.exploration.content import Words
from lungdet.exploration.images import grey_values_section, image_samples_section, image_sizes_section
from lungdet.store.image_statistics import ImageMoments
from lungdet.store.value_counts import ValueCounts

WORDS = Words(("normal", "tumor"), "patch", "patches")
IMAGES = pd.DataFrame(
    [
        ("a", 0, "p", 10, 20, "grey"),
        ("b", 0, "p", 10, 20, "grey"),
        ("c", 1, "q", 10, 20, "grey"),
        ("d", 1, "r", 30, 20, "RGB"),
    ],
    columns=["image_id", "label", "patient_id", "height", "width", "channels"],
)


def read(name: str) -> np.ndarray:
    if name == "c":
        raise MissingFileError("c is gone")
    return np.zeros((10, 20), np.uint8)


def test_samples_of_each_class_without_those_that_are_gone() -> None:
    section = image_samples_section(IMAGES, read, WORDS, n=5, seed=0)
    assert [grid.title for grid in section.grids] == ["normal, 2 at random", "tumor, 1 at random"]
    assert section.record["tumor"] == ["d"]
    assert section.grids[1].samples[0].note == "30 x 20"


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_values(channels: int) -> None:
    counts = {name: ValueCounts(n_channels=channels) for name in WORDS.classes}
    for counted, value in zip(counts.values(), (51, 102), strict=True):
        counted.add(np.full((4, 4), value, np.uint8))
    moments = ImageMoments((0.3,) * channels, (0.1,) * channels, 2, "f")
    section = grey_values_section(counts, moments, source="stored images", kept_in="store/statistics.json")
    assert section.record["classes"]["tumor"] == {"mean": [0.4] * channels, "std": [0.0] * channels}
    assert section.tables[0].rows[1] == ("normal", *(0.2, 0.0) * channels)
    assert "kept in store/statistics.json" in section.text
    (drawing,) = section.drawings
    assert len(drawing.figure.axes) == channels


def test_sizes_and_channels_of_files() -> None:
    section = image_sizes_section(IMAGES, WORDS)
    assert section.text == "4 originals of 2 sizes: 3 grey, 1 RGB."
    assert section.tables[0].rows == (("10 x 20, grey", 2, 1), ("30 x 20, RGB", 0, 1))
    assert section.record["sizes"][1] == {"height": 30, "width": 20, "channels": "RGB", "normal": 0, "tumor": 1}
    assert section.record["width_over_height"]["p100"] == 2.0
    assert [finding.code for finding in section.findings] == ["channels"]
    assert len(section.drawings) == 1


def test_files_of_one_size_need_no_figure() -> None:
    section = image_sizes_section(IMAGES.iloc[:3], WORDS)
    assert (section.drawings, section.findings) == ((), ())
    assert len(section.tables) == 1
    assert image_sizes_section(IMAGES.iloc[:0], WORDS).text == "No image could be read."
