"""Preprocessing made visible: how often a dark frame is cut off, by class, and every step of some images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import LungdetError
from lungdet.evaluation.results import Finding
from lungdet.exploration.contact_sheet import spread_choice
from lungdet.exploration.content import Drawing, Section, Table, Words
from lungdet.exploration.image_survey import BOX_COLUMNS, as_channels
from lungdet.exploration.preprocessing_figure import StagedImage, preprocessing_figure
from lungdet.exploration.shortcuts import cut_share
from lungdet.store.image_preprocess import ImageSpec, preprocess_image

ReadImage = Callable[[str], npt.NDArray[np.uint8]]
_SIDES = ("top", "bottom", "left", "right")
_ENOUGH = 50
_DIFFERENT = 0.1


def preprocessing_section(
    images: pd.DataFrame, read: ReadImage, spec: ImageSpec, words: Words, *, n_channels: int, n_shown: int, seed: int
) -> Section:
    """What preprocessing does: to all images in numbers, to some in pictures.

    Args:
        images: image_id, label, patient_id, height, width and, where known, top, left, bottom, right of what was kept.
        read: image_id -> pixels of the original.
        spec: the steps.
        words: class names.
        n_channels: of the stored images.
        n_shown: images in the figure, the classes in turn; half of them with a cut frame, where there are such.
        seed: of the choice.
    """
    height, width = spec.size_hw
    cuts = spec.dark_frame is not None and set(BOX_COLUMNS) <= set(images)
    record: dict[str, Any] = {"spec": spec.to_dict(), "fingerprint": spec.fingerprint}
    tables: tuple[Table, ...] = ()
    findings: tuple[Finding, ...] = ()
    if cuts:
        counted = cuts_by_class(images, words)
        record["cut"] = {str(name): dict(row) for name, row in counted.to_dict(orient="index").items()}
        heads = ("", "images", "cut, share", *(f"cut at the {side}" for side in _SIDES), "area cut, mean of the cut")
        lines = tuple(
            (str(name), int(row["images"]), *map(float, row.to_numpy()[1:])) for name, row in counted.iterrows()
        )
        tables = (
            Table("Shares of the images of a class from which a dark frame was cut, and of their area.", heads, lines),
        )
        findings = tuple(about_cuts(counted))
    staged = _staged(
        images, read, spec, words, n_channels=n_channels, rows=_chosen(images, cuts=cuts, n=n_shown, seed=seed)
    )
    kept_as_is = all(np.array_equal(image.stages.original, image.stages.stored) for image in staged)
    drawn: tuple[Drawing, ...] = ()
    if staged and not kept_as_is:
        drawn = (Drawing("preprocessing", preprocessing_figure(staged, spec), _caption(spec), has_pictures=True),)
    fitted = {"cover": "cut to fill", "pad": "padded to fit"}[spec.fit]
    frame = "a dark frame is looked for and cut off, then the image" if spec.dark_frame else "the image"
    same = " The images looked at are stored as they are." if staged and kept_as_is else ""
    return Section(
        name="preprocessing",
        title="Preprocessing",
        text=f"What is stored: {frame} is resized without stretching and {fitted} {height} x {width} pixels.{same}",
        tables=tables,
        drawings=drawn,
        findings=findings,
        record=record,
    )


def cuts_by_class(images: pd.DataFrame, words: Words) -> pd.DataFrame:
    """How often and how much is cut off.

    Args:
        images: label, height, width, top, left, bottom, right.
        words: class names.

    Returns:
        One row a class: images, cut (share of images), top, bottom, left, right (share of images cut there), area (mean
        share of the area of those that were cut; NaN where none was).
    """
    sides = pd.DataFrame(
        {
            "top": images["top"] > 0,
            "bottom": images["bottom"] < images["height"],
            "left": images["left"] > 0,
            "right": images["right"] < images["width"],
        }
    )
    area = cut_share(images)
    rows = []
    for label in range(len(words.classes)):
        chosen = (images["label"] == label).to_numpy()
        any_side = sides[chosen].any(axis=1).to_numpy()
        cut_area = area[chosen][any_side]
        n = int(chosen.sum())
        shares = [float(sides.loc[chosen, side].mean()) if n else float("nan") for side in _SIDES]
        rows.append(
            (n, float(any_side.mean()) if n else float("nan"), *shares,
             float(cut_area.mean()) if len(cut_area) else float("nan"))
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["images", "cut", *_SIDES, "area"], index=list(words.classes))


def about_cuts(counted: pd.DataFrame) -> Iterator[Finding]:
    """Whether the cut depends on the class."""
    shares = counted["cut"]
    if counted["images"].min() >= _ENOUGH and shares.max() - shares.min() > _DIFFERENT:
        said = ", ".join(f"{share:.0%} of {name}" for name, share in shares.items())
        yield Finding(
            "warning", "class_dependent_crop",
            f"A dark frame is cut off {said}: cropping depends on the class, so its traces (scale, sharpness, what is "
            "at the rim) can stand in for the disease. Compare with data.store.dark_frame=null.",
        )  # fmt: skip


def _caption(spec: ImageSpec) -> str:
    frame = (
        "Orange: what is cut off with the dark frame. The curves are the share of dark pixels in each line from the "
        "outside in, with the share that makes a line dark (dashed) and the last line of the frame (dot); above them, "
        "how many lines are cut on each side. "
    )
    mask = "Light in the last column: filling." if spec.fit == "pad" else "With fit=cover nothing is filled."
    shown = "Green: what of the resized image is stored. "
    return "Each row is one image. " + (frame if spec.dark_frame is not None else "") + shown + mask


def _chosen(images: pd.DataFrame, *, cuts: bool, n: int, seed: int) -> list[int]:
    """Row numbers, the classes in turn."""
    generator = np.random.default_rng(seed)
    is_cut = cut_share(images) > 0 if cuts else np.zeros(len(images), bool)
    by_class = []
    labels = sorted(set(images["label"]))
    for place, label in enumerate(labels):
        wanted = n // len(labels) + (place < n % len(labels))
        rows = np.flatnonzero((images["label"] == label).to_numpy())
        patients = list(images["patient_id"].iloc[rows].astype(str))
        order = rows[spread_choice(patients, len(rows), generator=generator)]
        first = order[is_cut[order]][: -(-wanted // 2)]
        rest = order[~np.isin(order, first)]
        by_class.append([*first, *rest[: wanted - len(first)]])
    return [int(row) for rows in by_class for row in rows]


def _staged(
    images: pd.DataFrame, read: ReadImage, spec: ImageSpec, words: Words, *, n_channels: int, rows: Sequence[int]
) -> list[StagedImage]:
    staged = []
    for row in rows:
        name, label = str(images["image_id"].iloc[row]), int(images["label"].iloc[row])
        try:
            staged.append(
                StagedImage(name, words.classes[label], preprocess_image(as_channels(read(name), n_channels), spec))
            )
        except LungdetError:  # gone since it was surveyed
            continue
    return staged
