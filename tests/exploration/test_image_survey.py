"""One pass over files on disk: sizes, channels, hashes, ids and failures, against pictures made by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lungdet.exploration.image_survey import (
    BOX_COLUMNS,
    as_channels,
    channel_kind,
    sha1_of_pixels,
    survey_originals,
    survey_stored,
)
from lungdet.io.image_file import read_image
from lungdet.store.dark_frame import DarkFrame
from lungdet.store.image_preprocess import ImageSpec

CLASSES = ("normal", "tumor")
GREY = np.random.default_rng(0).integers(60, 200, (40, 30), dtype=np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (8, 12, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Grey, the same as RGB, colour, and a file that is no picture."""
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    Image.fromarray(np.repeat(GREY[..., None], 3, axis=2)).save(tmp_path / "grey_as_rgb.png")
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no")
    return tmp_path


IMAGES = pd.DataFrame({"image_id": ["grey", "broken", "grey_as_rgb", "rgb"], "label": [0, 0, 1, 1]})


def test_each_image_is_measured_and_the_broken_one_is_listed(folder: Path) -> None:
    told: list[int] = []
    survey = survey_originals(
        IMAGES,
        lambda name: read_image(folder / f"{name}.png"),
        classes=CLASSES,
        n_channels=1,
        preprocess=None,
        advance=lambda done, total, name: told.append(done),
    )
    assert list(survey.failures) == ["broken"]
    assert "not a readable image" in survey.failures["broken"]
    assert told == [1, 2, 3, 4], "also for the one that cannot be read"
    table = survey.images.set_index("image_id")
    assert table["channels"].to_dict() == {"grey": "grey", "grey_as_rgb": "grey as RGB", "rgb": "RGB"}
    assert (table["height"]["rgb"], table["width"]["rgb"]) == (8, 12)
    assert table["mean_grey"]["grey"] == table["mean_grey"]["grey_as_rgb"] == GREY.mean()
    assert table["sd_grey"]["rgb"] == pytest.approx(RGB.astype(float).std())
    assert survey.duplicates.groups == [("grey", "grey_as_rgb")]
    assert survey.counts == {}
    assert "top" not in survey.images


def test_images_are_preprocessed_on_the_way_where_no_store_is_there(folder: Path) -> None:
    framed = np.zeros((100, 100), np.uint8)
    framed[:, 8:] = 150
    Image.fromarray(framed).save(folder / "framed.png")
    images = pd.DataFrame({"image_id": ["framed", "rgb"], "label": [0, 1]})
    spec = ImageSpec(size_hw=(10, 10), dark_frame=DarkFrame(keep_px=0))
    survey = survey_originals(
        images, lambda name: read_image(folder / f"{name}.png"), classes=CLASSES, n_channels=1, preprocess=spec
    )
    assert survey.images[BOX_COLUMNS].to_numpy()[0].tolist() == [0, 8, 100, 100]
    assert survey.counts["normal"].mean == (150.0,), "the frame is gone"
    assert survey.counts["tumor"].n_values == 100


def test_ids_are_compared_with_the_sha1_of_the_pixels() -> None:
    digest = hashlib.sha1(RGB.tobytes(), usedforsecurity=False).hexdigest()
    assert sha1_of_pixels(RGB) == digest
    images = pd.DataFrame({"image_id": [digest, "0" * 40, "train-000001"], "label": [0, 1, 1]})
    survey = survey_originals(images, lambda name: RGB, classes=CLASSES, n_channels=3, preprocess=None, check_ids=True)
    assert survey.n_ids_checked == 2, "a row number is no hash"
    assert survey.wrong_ids == {"0" * 40: f"the pixels have the SHA-1 {digest}"}


def test_stored_images_are_counted_by_class() -> None:
    images = pd.DataFrame({"image_id": ["a", "b", "c"], "label": [0, 1, 1]})
    stored = [(name, np.full((2, 2), value, np.uint8)) for name, value in (("a", 10), ("b", 20), ("c", 30), ("x", 99))]
    counts = survey_stored(images, stored, classes=CLASSES, n_channels=1)
    assert (counts["normal"].mean, counts["tumor"].mean) == ((10.0,), (25.0,)), "x belongs to nobody"


@pytest.mark.parametrize("name", ["grey", "grey_as_rgb", "rgb"])
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_become_what_the_store_is_made_of(folder: Path, name: str, channels: int) -> None:
    path = folder / f"{name}.png"
    np.testing.assert_array_equal(as_channels(read_image(path), channels), read_image(path, channels=channels))  # type: ignore[arg-type]


def test_channel_kinds() -> None:
    almost = np.repeat(GREY[..., None], 3, axis=2)
    assert channel_kind(almost) == "grey as RGB"
    almost[3, 3, 2] ^= 1
    assert channel_kind(almost) == "RGB"
