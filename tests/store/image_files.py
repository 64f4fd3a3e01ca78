"""Small pictures on disk, as a collection: what the tests of store and data of images share."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image

from lungdet.io.image_collection import ImageCollection


def write_pictures(folder: Path, n: int, *, size_hw: tuple[int, int] = (20, 24), channels: Literal[1, 3] = 1) -> None:
    """`000.png`, `001.png`, ... of random grey values; every other one has a bright square in the middle."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    shape = size_hw if channels == 1 else (*size_hw, 3)
    for number in range(n):
        image = random.integers(40, 140, shape, dtype=np.uint8)
        if number % 2:
            top, left = size_hw[0] // 2 - 4, size_hw[1] // 2 - 4
            image[top : top + 8, left : left + 8] += 90
        Image.fromarray(image).save(folder / f"{number:03d}.png")


def collection_of(folder: Path, *, channels: Literal[1, 3] = 1, images_of_a_patient: int = 2) -> ImageCollection:
    """The pictures of a folder; odd numbers are positive, neighbours in pairs belong to one patient."""
    paths = sorted(folder.glob("*.png"))
    numbers = np.array([int(path.stem) for path in paths])
    images = pd.DataFrame(
        {
            "image_id": [path.stem for path in paths],
            "path": [str(path) for path in paths],
            "row": -1,
            "label": numbers % 2,
            "patient_id": [f"p{number // images_of_a_patient}" for number in numbers],
            "partition": "",
        }
    )
    return ImageCollection(("plain", "square"), "picture", "pictures", channels, images)
