"""What tells the classes apart without looking at anatomy: one number an image, used alone as a score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.results import Finding
from lungdet.exploration.content import Section, Table, Words
from lungdet.exploration.image_survey import BOX_COLUMNS
from lungdet.metrics.ranking import auroc

# From here on a property that has nothing to do with disease says too much.
_TELLING = 0.7
_ENOUGH = 20


def shortcuts_section(images: pd.DataFrame, words: Words) -> Section:
    """How well properties of a file that are no anatomy tell the classes apart.

    Args:
        images: label, height, width, mean_grey, sd_grey and, where a dark frame was looked for, top, left, bottom,
            right of what was kept.
        words: class names.
    """
    named: dict[str, npt.NDArray[np.float64]] = {
        "Height": images["height"].to_numpy(np.float64),
        "Width": images["width"].to_numpy(np.float64),
        "Width / height": (images["width"] / images["height"]).to_numpy(np.float64),
        "Mean grey value": images["mean_grey"].to_numpy(np.float64),
        "Deviation of grey values": images["sd_grey"].to_numpy(np.float64),
    }
    if set(BOX_COLUMNS) <= set(images):
        named["Share cut off with the dark frame"] = cut_share(images)
    labels = images["label"].to_numpy()
    lines: list[tuple[str | int | float, ...]] = []
    record: dict[str, Any] = {}
    if len(words.classes) == 2 and len(set(labels.tolist())) == 2:
        for name, values in named.items():
            if np.ptp(values) == 0:
                continue
            area = auroc(labels, values)
            medians = [float(np.median(values[labels == label])) for label in range(2)]
            lines.append((name, *medians, area, max(area, 1 - area)))
            record[name] = {"medians": dict(zip(words.classes, medians, strict=True)), "auroc": area}
    heads = ("", *(f"median, {name}" for name in words.classes), f"AUROC for {words.classes[-1]}", "AUROC either way")
    enough = min((int((labels == label).sum()) for label in range(len(words.classes))), default=0) >= _ENOUGH
    return Section(
        name="shortcuts",
        title="What tells the classes apart without looking",
        text="One number an image, used alone as a score. What ranks the classes well here, a network can learn "
        "instead of the disease; grey values may be either. Properties that are the same in all images are left out.",
        tables=(Table("0.5 is chance; far below it, the property ranks the other way round.", heads, tuple(lines)),)
        if lines
        else (),
        findings=tuple(_about_shortcuts(record)) if enough else (),
        record=record,
    )


def cut_share(images: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Part of each image's area that was cut off with its dark frame: float64 [N]."""
    kept = (images["bottom"] - images["top"]) * (images["right"] - images["left"])
    share: npt.NDArray[np.float64] = 1 - kept.to_numpy(np.float64) / (images["height"] * images["width"]).to_numpy()
    return share


def _about_shortcuts(record: Mapping[str, Any]) -> Iterator[Finding]:
    telling = {name: max(row["auroc"], 1 - row["auroc"]) for name, row in record.items()}
    telling = {name: area for name, area in telling.items() if area >= _TELLING}
    # Grey values may be the disease: an opaque lung is bright.
    grey = ", ".join(f"{name} ({area:.3f})" for name, area in telling.items() if "grey" in name)
    other = ", ".join(f"{name} ({area:.3f})" for name, area in telling.items() if "grey" not in name)
    if other:
        yield Finding(
            "warning",
            "shortcut",
            f"One number of a file tells the classes apart: {other}, AUROC alone. That is a shortcut, no disease: see "
            "that preprocessing takes it away, and judge networks on images where it does not hold.",
        )
    if grey:
        yield Finding(
            "note",
            "grey_values",
            f"Grey values alone tell the classes apart: {grey}, AUROC. A network has to beat that clearly.",
        )
