"""Mean and standard deviation of stored images per channel: computed in one pass, kept in the store's folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lungdet.errors import MissingFileError, StoreError
from lungdet.store.value_counts import ValueCounts

#: In the folder of an image store.
FILE_NAME = "statistics.json"
_GREY_VALUES = 255


@dataclass(frozen=True)
class ImageMoments:
    """Of all pixels of all images.

    Attributes:
        mean: of each channel, in [0, 1] (grey value / 255).
        std: of each channel over all pixels (divided by n), in the same unit.
        n_images: how many were read.
        fingerprint: of the store they lie in; empty for images that are not stored.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    n_images: int
    fingerprint: str = ""


def image_moments(images: Iterable[npt.NDArray[np.uint8]], *, n_channels: int, fingerprint: str = "") -> ImageMoments:
    """One pass, one image in memory; exact up to the last division.

    Args:
        images: uint8 [H, W] or [H, W, C]; sizes may differ.
        n_channels: C; grey images count in all channels.
        fingerprint: of their store.
    """
    counts, n_images = ValueCounts(n_channels=n_channels), 0
    for image in images:
        counts.add(image)
        n_images += 1
    return moments_of_counts(counts, n_images=n_images, fingerprint=fingerprint)


def moments_of_counts(counts: ValueCounts, *, n_images: int, fingerprint: str = "") -> ImageMoments:
    """The same from counted grey values, 0 to 255."""
    mean, std = (tuple(value / _GREY_VALUES for value in values) for values in (counts.mean, counts.std))
    return ImageMoments(mean, std, n_images, fingerprint)


def write_statistics(path: Path | str, moments: ImageMoments) -> Path:
    """Write the moments as JSON: mean, std, n_images, fingerprint. It is there whole or not at all.

    Args:
        path: the file, or the folder of the store, where it is called `statistics.json`.
        moments: what to write.

    Returns:
        The file.

    Raises:
        StoreError: moments of no image, which are no numbers.
    """
    if not moments.n_images:
        raise StoreError(f"{path}: no image was read, so there is no mean to write")
    file = _file(path)
    record = {
        "mean": list(moments.mean),
        "std": list(moments.std),
        "n_images": moments.n_images,
        "fingerprint": moments.fingerprint,
    }
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return partial.replace(file)


def read_statistics(path: Path | str, *, fingerprint: str | None = None) -> ImageMoments:
    """What `write_statistics` wrote.

    Args:
        path: as there.
        fingerprint: that the images must have; None takes any.

    Raises:
        MissingFileError: nobody has computed them.
        StoreError: damaged, or of other images.
    """
    file = _file(path)
    if not file.is_file():
        raise MissingFileError(
            f"{file}: mean and standard deviation are not computed yet; type lungdet explore data=..."
        )
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        moments = ImageMoments(
            tuple(float(value) for value in record["mean"]),
            tuple(float(value) for value in record["std"]),
            int(record["n_images"]),
            str(record["fingerprint"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: damaged ({error}); delete it and type lungdet explore data=...") from error
    if len(moments.mean) != len(moments.std) or not moments.mean:
        raise StoreError(
            f"{file}: damaged (mean and std differ in length); delete it and type lungdet explore data=..."
        )
    if fingerprint is not None and moments.fingerprint != fingerprint:
        raise StoreError(
            f"{file}: computed from images of fingerprint {moments.fingerprint or 'none'}, these have {fingerprint}; "
            "type lungdet explore data=... again"
        )
    return moments


def _file(path: Path | str) -> Path:
    path = Path(path)
    return path / FILE_NAME if path.is_dir() else path
