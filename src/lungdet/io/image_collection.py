"""`ImageCollection`: what a collection of labelled 2-D images has to say; and a list of where each went."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from lungdet.errors import TableError
from lungdet.io.image_pixels import ImagePixels

COLUMNS = ("image_id", "path", "row", "label", "patient_id", "partition")
_PARTITIONS = ("train", "val", "test", "")


@dataclass(frozen=True)
class ImageCollection:
    """Labelled images; none of them has been opened yet.

    Attributes:
        classes: class names in label order, the negative one first.
        item, items: what one image is called in reports, and several: "chest X-ray", "chest X-rays".
        channels: 1 for grey images, 3 for RGB.
        images: one row an image: image_id (text, unique), path (of the file), row (in an HDF5 file; -1 for an image
            file), label (0 or 1), patient_id (or slide, or whatever no split may tear apart; never empty), partition
            (`train`, `val`, `test` as shipped, or empty).
        notes: what a report has to say of the collection, one sentence each.

    Raises:
        TableError: a missing column, an image listed twice, another label or partition, an empty id.
    """

    classes: tuple[str, str]
    item: str
    items: str
    channels: Literal[1, 3]
    images: pd.DataFrame
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        images = self.images
        missing = [name for name in COLUMNS if name not in images]
        if missing:
            raise TableError(f"{self.items}: no column {', '.join(missing)}; a collection gives {', '.join(COLUMNS)}")
        rules = {
            "image_id": (images["image_id"].duplicated() | (images["image_id"] == ""), "unique and not empty"),
            "label": (~images["label"].isin([0, 1]), "0 or 1"),
            "patient_id": (images["patient_id"].isna() | (images["patient_id"] == ""), "a name, never empty"),
            "partition": (~images["partition"].isin(_PARTITIONS), "train, val, test or empty"),
        }
        for name, (is_wrong, allowed) in rules.items():
            if is_wrong.any():
                first = images[is_wrong].iloc[0]
                raise TableError(
                    f"{self.items}: {int(is_wrong.sum())} of {len(images)} rows have a wrong {name}, the first is "
                    f"'{first[name]}' of image {first['image_id']!r}; it must be {allowed}"
                )

    def pixels(self, image_ids: list[str] | None = None) -> ImagePixels:
        """Reader of the originals, to be used in a `with` block; it can be pickled before.

        Args:
            image_ids: of the images that will be read; None for all.
        """
        wanted = self.images if image_ids is None else self.images.set_index("image_id").loc[image_ids].reset_index()
        rows = zip(wanted["image_id"], wanted["path"], wanted["row"], strict=True)
        return ImagePixels({name: (Path(path), int(row)) for name, path, row in rows}, channels=self.channels)


def write_manifest(path: Path | str, collection: ImageCollection, placed: pd.DataFrame) -> None:
    """Write who is where, so that others can train on the same partitions; `data=chest_xray data.root=<it>` reads it.

    Args:
        path: of the CSV; its folder exists.
        collection: whose images.
        placed: series_uid (the image id), patient_id and partition of those that are in one.
    """
    path = Path(path)
    images = collection.images.set_index("image_id").loc[placed["series_uid"]]
    table = pd.DataFrame(
        {
            "image_id": placed["series_uid"].to_numpy(),
            "path": [str(Path(name).resolve()) for name in images["path"]],
            "row": images["row"].to_numpy(),
            "label": images["label"].to_numpy(),
            "class": [collection.classes[int(label)] for label in images["label"]],
            "group": placed["patient_id"].to_numpy(),
            "partition": placed["partition"].to_numpy(),
        }
    )
    partial = path.with_suffix(".partial")
    table.to_csv(partial, index=False, lineterminator="\n")
    partial.replace(path)
