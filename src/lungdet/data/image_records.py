"""From a collection of images and its store to records under a split: whose images are joined, what is left out."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pandas as pd

from lungdet.data.partitions import Split, patient_table
from lungdet.data.splits import Official, SplitRule
from lungdet.io.image_collection import ImageCollection
from lungdet.io.pixel_duplicates import join_groups
from lungdet.store.image_store import ImageStore

logger = logging.getLogger(__name__)


def image_records(
    collection: ImageCollection, store: ImageStore, *, rule: SplitRule, join_duplicates: bool
) -> tuple[pd.DataFrame, Split]:
    """One row an image, in the words that the rest of the house has for candidates.

    With `split=official` the shipped test part is the test part: other images of its patients are left out, since they
    may not train and are not in it. What is shipped as validation is not trusted with choosing anything: it joins the
    images that training and validation are drawn from.

    Args:
        collection: the images.
        store: where they are; those that could not be stored are left out.
        rule: who trains, validates and tests.
        join_duplicates: patients that share a pixel-identical image count as one.

    Returns:
        series_uid (the image id), patient_id, candidate_id (row number in the collection), center_x_mm, center_y_mm,
        center_z_mm (0), diameter_mm (NaN), label int8, partition; and the split with its notes.

    Raises:
        StoreError: an image of the collection that is neither stored nor known to have failed.
        SplitError: see the rule.
    """
    images = collection.images.reset_index(drop=True)
    images = images.assign(candidate_id=np.arange(len(images), dtype=np.int64))
    images = images[~images["image_id"].isin(list(store.failures))].reset_index(drop=True)
    notes = []
    if store.failures:
        notes.append(
            f"{len(store.failures)} of {len(collection.images)} {collection.items} could not be read and are left out."
        )
    rows = store.rows_of(images["image_id"])
    keys = store.images.set_index("row").loc[rows, "pixel_key"]
    patient = images["patient_id"].astype(str)
    if join_duplicates:
        joined = join_groups(list(patient), list(keys))
        n_joined = int((patient != pd.Series(joined)).sum())
        if n_joined:
            notes.append(
                f"{_counted(n_joined, collection, ('goes', 'go'))} with another patient than the name says: "
                "pixel-identical images tie the two together, and no split parts them."
            )
        patient = pd.Series(joined)
    records = pd.DataFrame(
        {
            "series_uid": images["image_id"].astype(str),
            "patient_id": patient,
            "candidate_id": images["candidate_id"],
            "center_x_mm": 0.0,
            "center_y_mm": 0.0,
            "center_z_mm": 0.0,
            "diameter_mm": np.nan,
            "label": images["label"].astype(np.int8),
        }
    )
    shipped = images["partition"]
    split = rule(_patients(records, shipped))
    records["partition"] = split.partition_of(records["patient_id"])
    if isinstance(rule, Official):
        stray = (records["partition"] == "test") & (shipped != "test")
        if stray.any():
            notes.append(
                f"{_counted(int(stray.sum()), collection, ('is', 'are'))} left out: of patients in the shipped test "
                "part, but not in it. They may not train, and the test part is kept as shipped."
            )
        records = records[~stray].reset_index(drop=True)
    for note in notes:
        logger.warning("%s", note)
    return records, dataclasses.replace(split, notes=(*split.notes, *notes))


def _counted(n: int, collection: ImageCollection, verb: tuple[str, str]) -> str:
    """Such as "1 patch is" and "3 patches are"."""
    return f"1 {collection.item} {verb[0]}" if n == 1 else f"{n} {collection.items} {verb[1]}"


def _patients(records: pd.DataFrame, shipped: pd.Series[str]) -> pd.DataFrame:
    """The table that split rules take, with `shipped`: the partitions that a patient has images in, as shipped."""
    label = records.set_index("series_uid")["label"]
    table = patient_table(
        records[["series_uid", "patient_id"]],
        n_positive=(label == 1).astype(np.int64),
        n_negative=(label == 0).astype(np.int64),
    )
    if (shipped != "").any():
        parts: dict[str, set[str]] = {}
        for patient, part in zip(records["patient_id"], shipped, strict=True):
            parts.setdefault(patient, set()).add(part)
        table["shipped"] = [tuple(sorted(parts[patient])) for patient in table["patient_id"]]
    return table
