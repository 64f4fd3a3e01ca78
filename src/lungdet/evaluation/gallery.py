"""The rows a person should look at: the worst mistakes and the surest hits, with pictures where pixels exist."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lungdet.errors import LungdetError
from lungdet.evaluation.shown import PictureLoader, WholeImage
from lungdet.evaluation.views import View
from lungdet.evaluation.wording import CANDIDATES, Wording, with_article

# A candidate takes the width of three pictures and its place, an image that of one.
IMAGES_PER_CANDIDATE = 2


@dataclass(frozen=True)
class GalleryItem:
    """One row of a gallery.

    Attributes:
        row: its columns of the predictions table.
        called: whether it is called positive at the gallery's operating point; None when there is no such point.
        views: axial, coronal, sagittal, or the whole image; empty when there are no pixels.
        problem: why there are none.
    """

    row: dict[str, Any]
    called: bool | None
    views: tuple[View | WholeImage, ...] = field(default=(), repr=False)
    problem: str = ""


@dataclass(frozen=True)
class Gallery:
    """A named, ordered choice of rows."""

    name: str
    title: str
    explanation: str
    items: tuple[GalleryItem, ...]


def build_galleries(
    predictions: pd.DataFrame,
    *,
    threshold_logit: float,
    n: int,
    load_pictures: PictureLoader | None = None,
    wording: Wording = CANDIDATES,
) -> tuple[Gallery, ...]:
    """Choose the rows and get their pictures.

    Args:
        predictions: rows of one partition, see `check_predictions`.
        threshold_logit: the operating point that `called` refers to; NaN when there is none.
        n: how many candidates per gallery; of whole images, which take less room, twice as many.
        load_pictures: gives those of a row; None leaves them out. When it raises a `LungdetError`, that item goes
            without pictures and says why.
        wording: what titles and explanations call the classes.

    Returns:
        False positives (negatives, highest logit first), false negatives (positives, lowest first), hits (positives,
        highest first). Equal logits are ordered by series and candidate id.
    """
    positive = predictions["label"].to_numpy() == 1
    logit = predictions["logit"].to_numpy(dtype=np.float64)
    choices = [
        (
            "false_positives",
            wording.false_positives_title,
            f"What the network mistakes for {with_article(wording.positive)}, worst first.",
            np.flatnonzero(~positive),
            -1.0,
        ),
        (
            "false_negatives",
            f"Lowest-scored {wording.positives}",
            "What the network overlooks, worst first.",
            np.flatnonzero(positive),
            1.0,
        ),
        (
            "hits",
            f"Highest-scored {wording.positives}",
            "What the network is surest of; it shows what it has learned to look for.",
            np.flatnonzero(positive),
            -1.0,
        ),
    ]
    n_shown = n * IMAGES_PER_CANDIDATE if wording.are_images else n
    galleries = []
    for name, title, explanation, rows, sign in choices:
        chosen = rows[np.argsort(sign * logit[rows], kind="stable")[:n_shown]]
        items = tuple(_item(predictions.iloc[int(i)], threshold_logit, load_pictures) for i in chosen)
        galleries.append(Gallery(name, title, explanation, items))
    return tuple(galleries)


def png_data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """A picture, uint8 [rows, columns] or [rows, columns, 3], as a `data:image/png;base64,...` address for HTML."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _item(row: pd.Series[Any], threshold_logit: float, load_pictures: PictureLoader | None) -> GalleryItem:
    record = {str(name): _plain(value) for name, value in row.items()}
    called = None if np.isnan(threshold_logit) else bool(record["logit"] >= threshold_logit)
    if load_pictures is None:
        return GalleryItem(record, called)
    try:
        return GalleryItem(record, called, load_pictures(row))
    except LungdetError as error:
        return GalleryItem(record, called, problem=str(error))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
