"""The candidates a person should look at: the worst mistakes and the surest hits, with pictures where pixels exist."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from lungdet.errors import LungdetError
from lungdet.evaluation.views import View, orthogonal_views
from lungdet.evaluation.wording import CANDIDATES, Wording

# One row of the predictions table -> (int16 [D, H, W] HU, spacing_zyx_mm, nine direction cosines).
CropLoader = Callable[[Any], tuple[npt.NDArray[np.int16], tuple[float, float, float], tuple[float, ...]]]


@dataclass(frozen=True)
class GalleryItem:
    """One candidate of a gallery.

    Attributes:
        row: the candidate's columns of the predictions table.
        called: whether it is called a nodule at the gallery's operating point; None when there is no such point.
        views: axial, coronal, sagittal; empty when there are no pixels.
        problem: why there are none.
    """

    row: dict[str, Any]
    called: bool | None
    views: tuple[View, ...] = field(default=(), repr=False)
    problem: str = ""


@dataclass(frozen=True)
class Gallery:
    """A named, ordered choice of candidates."""

    name: str
    title: str
    explanation: str
    items: tuple[GalleryItem, ...]


def build_galleries(
    predictions: pd.DataFrame,
    *,
    threshold_logit: float,
    n: int,
    load_crop: CropLoader | None = None,
    wording: Wording = CANDIDATES,
) -> tuple[Gallery, ...]:
    """Choose the candidates and cut their pictures.

    Args:
        predictions: rows of one partition, see `check_predictions`.
        threshold_logit: the operating point that `called` refers to; NaN when there is none.
        n: how many per gallery.
        load_crop: gives the pixels of a row; None leaves the pictures out. When it raises a `LungdetError`, that item
            goes without pictures and says why.
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
            f"What the network mistakes for a {wording.positive}, worst first.",
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
    galleries = []
    for name, title, explanation, rows, sign in choices:
        chosen = rows[np.argsort(sign * logit[rows], kind="stable")[:n]]
        items = tuple(_item(predictions.iloc[int(i)], threshold_logit, load_crop) for i in chosen)
        galleries.append(Gallery(name, title, explanation, items))
    return tuple(galleries)


def png_data_uri(gray: npt.NDArray[np.uint8]) -> str:
    """A greyscale picture, uint8 [rows, columns], as a `data:image/png;base64,...` address for HTML."""
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _item(row: pd.Series[Any], threshold_logit: float, load_crop: CropLoader | None) -> GalleryItem:
    record = {str(name): _plain(value) for name, value in row.items()}
    called = None if np.isnan(threshold_logit) else bool(record["logit"] >= threshold_logit)
    if load_crop is None:
        return GalleryItem(record, called)
    try:
        hu, spacing_zyx_mm, direction = load_crop(row)
        return GalleryItem(record, called, orthogonal_views(hu, spacing_zyx_mm, direction))
    except LungdetError as error:
        return GalleryItem(record, called, problem=str(error))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
