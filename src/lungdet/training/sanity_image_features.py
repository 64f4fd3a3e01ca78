"""What can be known of a 2-D image without looking at its middle: its outermost pixels, and its file."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lungdet.data.images import ImageDataModule

#: Pixels on each side that count as border.
BORDER_PIXELS = 2
_PERCENTILES = (5, 25, 50, 75, 95)
# Black as of a frame, dark, middle, bright, white as of a label or an empty slide.
_BIN_EDGES = (16, 64, 128, 192, 240)
_IMAGES_AT_ONCE = 1024
_SIDES = ("top", "left", "bottom", "right")

FloatArray = npt.NDArray[np.float64]


def image_border_features(datamodule: ImageDataModule, rows: npt.NDArray[np.intp]) -> pd.DataFrame:
    """Statistics of the outermost pixels of each stored image.

    Args:
        datamodule: after setup.
        rows: of its records, N of them.

    Returns:
        float64 [N, F]: for each channel mean, standard deviation, percentiles and a coarse histogram of the border, and
        mean and standard deviation of each of the four sides.
    """
    places = datamodule.store.rows_of(datamodule.records["series_uid"].to_numpy()[rows])
    names = border_names(datamodule.channels)
    values = np.empty((len(rows), len(names)))
    for start in range(0, len(rows), _IMAGES_AT_ONCE):
        part = slice(start, start + _IMAGES_AT_ONCE)
        values[part] = border_statistics(datamodule.store.read(places[part]))
    return pd.DataFrame(values, columns=names)


def border_statistics(images: npt.NDArray[np.uint8]) -> FloatArray:
    """Features of the outermost pixels.

    Args:
        images: uint8 [N, H, W, C].

    Returns:
        float64 [N, F], columns as in `border_names`; nothing farther than `BORDER_PIXELS` from the border enters.
    """
    height, width, channels = images.shape[1:]
    is_border = np.ones((height, width), bool)
    is_border[BORDER_PIXELS : height - BORDER_PIXELS, BORDER_PIXELS : width - BORDER_PIXELS] = False
    columns: list[FloatArray] = []
    for channel in range(channels):
        border = images[..., channel][:, is_border].astype(np.float64)
        columns += [border.mean(axis=1), border.std(axis=1), *np.percentile(border, _PERCENTILES, axis=1)]
        columns += [((border >= low) & (border < high)).mean(axis=1) for low, high in _bins()]
        for side in _side_slices():
            pixels = images[(slice(None), *side, channel)].reshape(len(images), -1).astype(np.float64)
            columns += [pixels.mean(axis=1), pixels.std(axis=1)]
    return np.stack(columns, axis=1)


def border_names(channels: int) -> list[str]:
    """Names of the columns of `border_statistics`.

    Example:
        >>> border_names(3)[:2]
        ['red border mean', 'red border sd']
    """
    colours = [""] if channels == 1 else ["red ", "green ", "blue "]
    one = [
        "border mean",
        "border sd",
        *(f"border {p} %" for p in _PERCENTILES),
        *(f"border {low:g} to {high - 1:g}" for low, high in _bins()),
        *(f"{side} side {what}" for side in _SIDES for what in ("mean", "sd")),
    ]
    return [f"{colour}{name}" for colour in colours for name in one]


def size_and_frame_features(datamodule: ImageDataModule, rows: npt.NDArray[np.intp]) -> pd.DataFrame:
    """Size and aspect of each original, and what the dark-frame crop cut off, without any pixel.

    Args:
        datamodule: after setup.
        rows: of its records, N of them.

    Returns:
        float64 [N, F].
    """
    names = datamodule.records["series_uid"].to_numpy()[rows]
    stored = datamodule.store.images.set_index("image_id").loc[names].reset_index()
    height, width = stored["height"].astype(np.float64), stored["width"].astype(np.float64)
    return pd.DataFrame(
        {
            "original height": height,
            "original width": width,
            "original aspect": width / height,
            "frame cut at the top": stored["top"] / height,
            "frame cut at the left": stored["left"] / width,
            "frame cut at the bottom": 1 - stored["bottom"] / height,
            "frame cut at the right": 1 - stored["right"] / width,
        }
    )


def file_features(datamodule: ImageDataModule, rows: npt.NDArray[np.intp]) -> pd.DataFrame:
    """What the file of each image tells without its pixels: how it was compressed, and how it was saved.

    A file holds more bytes where there is more to see, so its size tells of the image, too.

    Args:
        datamodule: after setup.
        rows: of its records, N of them.

    Returns:
        float64 [N, F]: bytes in all and per pixel of the original, whether it holds grey values (NaN where many images
        share a file, or where it cannot be opened any more), and its suffix.
    """
    names = datamodule.records["series_uid"].to_numpy()[rows]
    files = datamodule.collection.images.set_index("image_id").loc[names]
    stored = datamodule.store.images.set_index("image_id").loc[names]
    facts = np.array(
        [_file_facts(Path(path), row=row) for path, row in zip(files["path"], files["row"], strict=True)]
    ).reshape(-1, 2)
    columns = {
        "bytes of the file": facts[:, 0],
        "bytes per pixel": facts[:, 0] / (stored["height"] * stored["width"]).to_numpy(np.float64),
        "grey values in the file": facts[:, 1],
    }
    suffixes = np.array([Path(path).suffix.lower() for path in files["path"]])
    # Of the whole collection, so that training and test rows have the same columns.
    for suffix in sorted({Path(path).suffix.lower() for path in datamodule.collection.images["path"]}):
        columns[f"suffix {suffix or 'missing'}"] = (suffixes == suffix).astype(np.float64)
    return pd.DataFrame(columns)


def _file_facts(path: Path, *, row: int) -> tuple[float, float]:
    """Bytes of a file, and 1 for grey values; only the header is read, and of files of many images nothing."""
    if row >= 0:
        return np.nan, np.nan
    try:
        with Image.open(path) as image:
            return float(path.stat().st_size), float(image.mode in ("1", "L", "LA") or image.mode.startswith("I"))
    except OSError:  # Pillow's own for what is no picture is one, too
        return np.nan, np.nan


def _bins() -> Iterator[tuple[float, float]]:
    yield from pairwise((0, *_BIN_EDGES, 256))


def _side_slices() -> Iterator[tuple[slice, slice]]:
    whole = slice(None)
    first, last = slice(None, BORDER_PIXELS), slice(-BORDER_PIXELS, None)
    yield from ((first, whole), (whole, first), (last, whole), (whole, last))
