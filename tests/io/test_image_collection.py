"""What a collection of images must say, and that it is refused by name when it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lungdet.errors import TableError
from lungdet.io.image_collection import ImageCollection


def table(**changes: object) -> pd.DataFrame:
    columns = {"image_id": ["a", "b"], "path": ["a.png", "b.png"], "row": -1, "label": [0, 1],
               "patient_id": ["p", "q"], "partition": ""}  # fmt: skip
    return pd.DataFrame({**columns, **changes})


def collection(images: pd.DataFrame) -> ImageCollection:
    return ImageCollection(("no", "yes"), "photo", "photos", 3, images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": ["a", "a"]}, "1 of 2 rows have a wrong image_id, the first is 'a' .*unique"),
        ({"label": [0, 2]}, "wrong label, the first is '2' of image 'b'; it must be 0 or 1"),
        ({"patient_id": ["p", ""]}, "wrong patient_id, the first is '' of image 'b'.*never empty"),
        ({"partition": ["train", "valid"]}, "wrong partition, the first is 'valid'"),
    ],
)
def test_what_a_collection_may_not_say(changes: dict[str, object], message: str) -> None:
    with pytest.raises(TableError, match=message):
        collection(table(**changes))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(TableError, match="photos: no column row, label; a collection gives image_id, path"):
        collection(table().drop(columns=["row", "label"]))


def test_pixels_come_in_the_channels_asked_for(tmp_path: Path) -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for name in "ab":
        Image.fromarray(grey).save(tmp_path / f"{name}.png")
    images = table(path=[str(tmp_path / "a.png"), str(tmp_path / "b.png")])
    with collection(images).pixels() as pixels:
        np.testing.assert_array_equal(pixels.read("b"), np.repeat(grey[..., None], 3, axis=2))
    with ImageCollection(("no", "yes"), "photo", "photos", 1, images).pixels(["a"]) as pixels:
        np.testing.assert_array_equal(pixels.read("a"), grey)
        with pytest.raises(TableError, match="no image 'b' among 1"):
            pixels.read("b")
