"""Looking through 2-D images: each original once, then the stored ones; what cannot be read is listed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lungdet.errors import LungdetError
from lungdet.io.pixel_duplicates import PixelDuplicates, pixel_key
from lungdet.store.image_preprocess import ImageSpec, preprocess_image
from lungdet.store.value_counts import ValueCounts

Pixels = npt.NDArray[np.uint8]
ReadImage = Callable[[str], Pixels]
Advance = Callable[..., None]

BOX_COLUMNS = ["top", "left", "bottom", "right"]
_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass
class OriginalSurvey:
    """What one pass over the originals found.

    Attributes:
        images: image_id, height, width, channels (`grey`, `RGB`, or `grey as RGB`: three equal channels), mean_grey,
            sd_grey (of the pixels of an image, all channels together), pixel_key; and, where images were preprocessed
            on the way, top, left, bottom, right of what was kept. One row an image that could be read.
        failures: image_id -> why not.
        wrong_ids: image_id -> what is wrong with it; only where ids were checked.
        n_ids_checked: ids that have the form of a SHA-1.
        counts: class -> grey values after preprocessing; empty where images were not preprocessed on the way.
    """

    images: pd.DataFrame
    failures: Mapping[str, str]
    wrong_ids: Mapping[str, str] = field(default_factory=dict)
    n_ids_checked: int = 0
    counts: Mapping[str, ValueCounts] = field(default_factory=dict)

    @property
    def duplicates(self) -> PixelDuplicates:
        """Which images are equal."""
        keys = dict(zip(self.images["image_id"], self.images["pixel_key"], strict=True))
        return PixelDuplicates(keys, self.failures)


def survey_originals(
    images: pd.DataFrame,
    read: ReadImage,
    *,
    classes: Sequence[str],
    n_channels: int,
    preprocess: ImageSpec | None,
    check_ids: bool = False,
    advance: Advance | None = None,
) -> OriginalSurvey:
    """Read each image once, one at a time.

    Args:
        images: image_id, label.
        read: image_id -> uint8 [H, W] or [H, W, 3] as the file holds it; a `LungdetError` of it is listed.
        classes: names of the labels.
        n_channels: of the preprocessed images, 1 or 3.
        preprocess: how images are prepared on the way, for grey values and crops; None where stored ones are there.
        check_ids: compare ids with the SHA-1 of the RGB pixels.
        advance: told after each image.
    """
    rows, failures, wrong_ids, n_checked = [], {}, {}, 0
    counts = {name: ValueCounts(n_channels=n_channels) for name in classes} if preprocess is not None else {}
    for done, (name, label) in enumerate(zip(images["image_id"], images["label"], strict=True), start=1):
        if advance is not None:
            advance(done, len(images), name)
        try:
            original = read(name)
            box: tuple[int, ...] = ()
            if preprocess is not None:
                stages = preprocess_image(as_channels(original, n_channels), preprocess)
                counts[classes[int(label)]].add(stages.stored)
                box = stages.kept_box
        except LungdetError as error:
            failures[name] = str(error)
            continue
        if check_ids and _SHA1.fullmatch(name.lower()):
            n_checked += 1
            digest = sha1_of_pixels(original)
            if digest != name.lower():
                wrong_ids[name] = f"the pixels have the SHA-1 {digest}"
        one = original if original.ndim == 2 else original.reshape(-1, 3)
        rows.append(
            (name, *original.shape[:2], channel_kind(original), float(one.mean()), float(one.std()),
             pixel_key(original), *box)
        )  # fmt: skip
    columns = ["image_id", "height", "width", "channels", "mean_grey", "sd_grey", "pixel_key"]
    columns += BOX_COLUMNS if preprocess is not None else []
    return OriginalSurvey(pd.DataFrame(rows, columns=columns), failures, wrong_ids, n_checked, counts)


def survey_stored(
    images: pd.DataFrame, stored: Iterable[tuple[str, Pixels]], *, classes: Sequence[str], n_channels: int
) -> dict[str, ValueCounts]:
    """Grey values of stored images by class.

    Args:
        images: image_id, label.
        stored: (image_id, uint8 [H, W] or [H, W, 3]), in any order; names that `images` lacks are left out.
        classes: names of the labels.
        n_channels: of the stored images.
    """
    counts = {name: ValueCounts(n_channels=n_channels) for name in classes}
    labels = dict(zip(images["image_id"], images["label"], strict=True))
    for name, image in stored:
        if name in labels:
            counts[classes[int(labels[name])]].add(image)
    return counts


def channel_kind(image: Pixels) -> str:
    """`grey`, `RGB`, or `grey as RGB` where three channels are equal."""
    if image.ndim == 2:
        return "grey"
    is_grey = np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 0], image[..., 2])
    return "grey as RGB" if is_grey else "RGB"


def as_channels(image: Pixels, n_channels: int) -> Pixels:
    """Grey as RGB, or RGB as grey, as `lungdet.io.image_file.read_image` does it: uint8 [H, W] or [H, W, 3]."""
    if n_channels == 3:
        return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    if image.ndim == 2:
        return image
    if channel_kind(image) == "grey as RGB":
        return np.ascontiguousarray(image[..., 0])
    return np.asarray(Image.fromarray(image).convert("L"), np.uint8)


def sha1_of_pixels(image: Pixels) -> str:
    """SHA-1 (hex) of the RGB pixels row by row, as PCam names its patches."""
    return hashlib.sha1(np.ascontiguousarray(as_channels(image, 3)).tobytes(), usedforsecurity=False).hexdigest()
