"""The leak audit of a run: who is in which partition, and which scans hold the same pixels under two names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pandas as pd

from lungdet.data.collection_data import CollectionData
from lungdet.data.partitions import PARTITIONS

logger = logging.getLogger(__name__)


def leak_audit(datamodule: CollectionData) -> dict[str, Any]:
    """Look for patients, series and pixels in more than one partition; the content of audit.json.

    Patients are compared by id and scans by the pixel hashes of the store, so a patient under two ids is found where
    the stored voxels of two scans are equal, and only there (docs/audit.md).

    Args:
        datamodule: after `setup`, with a split.

    Returns:
        fold (None without folds), split_hash, classes;
        partitions: name -> patients, series (stored, of these patients), rows (samples), labels (class -> rows);
        shared_patients, shared_series: id -> the partitions it is in, where these are several;
        equal_pixels: groups of stored series with equal pixels that lie in different partitions or belong to different
        patients: pixel_hash, crosses_partitions, scans (series_uid, patient_id, partition);
        scans_hashed; scans_of_one_value: names, left out of the comparison (empty cubes are equal and no leak);
        extra_negatives: table, split_hash of the network that chose its rows, same_split (None where nobody knows).

    Raises:
        RunError: before `setup`, or when points are scored.
        StoreError: a scan of the store is damaged.
    """
    split = datamodule.split_result
    scans = _scans(datamodule)
    hashes = datamodule.pixel_hashes(sorted(scans["series_uid"].unique()))
    groups, of_one_value = _equal_pixels(scans.assign(pixel_hash=scans["series_uid"].map(hashes)), datamodule)
    audit = {
        "fold": split.fold,
        "split_hash": split.hash,
        "classes": list(datamodule.classes),
        "partitions": dict(_partitions(datamodule, scans)),
        "shared_patients": _in_several(scans, "patient_id"),
        "shared_series": _in_several(scans, "series_uid"),
        "equal_pixels": groups,
        "scans_hashed": len(hashes),
        "scans_of_one_value": of_one_value,
        "extra_negatives": [
            {"table": table, "split_hash": given, "same_split": None if given is None else given == split.hash}
            for table, given in datamodule.mined_with.items()
        ],
    }
    for group in groups:
        named = "; ".join(
            f"patient {s['patient_id']}, series {s['series_uid']}: {s['partition']}" for s in group["scans"]
        )
        logger.warning("scans with the same pixels under different names: %s", named)
    return audit


def _scans(datamodule: CollectionData) -> pd.DataFrame:
    """patient_id, series_uid, partition of every stored scan of the split's patients, and of every row of the records.

    The records are what was trained on and scored; the collection adds scans without rows. Where the two disagree, a
    patient or a series appears in two partitions.
    """
    series = datamodule.stored_scans()
    planned = series.assign(partition=datamodule.split_result.partition_of(series["patient_id"]))
    columns = ["patient_id", "series_uid", "partition"]
    found = pd.concat([planned[columns].astype(str), datamodule.records[columns].drop_duplicates().astype(str)])
    return found.drop_duplicates().sort_values(["series_uid", "patient_id", "partition"], ignore_index=True)


def _partitions(datamodule: CollectionData, scans: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    labels = datamodule.records.groupby(["partition", "label"]).size()
    for name in PARTITIONS:
        here = scans[scans["partition"] == name]
        counted = {word: int(labels.get((name, n), 0)) for n, word in enumerate(datamodule.classes)}
        yield (
            name,
            {
                "patients": int(here["patient_id"].nunique()),
                "series": int(here["series_uid"].nunique()),
                "rows": sum(counted.values()),
                "labels": counted,
            },
        )


def _in_several(scans: pd.DataFrame, column: str) -> dict[str, list[str]]:
    """Id -> partitions, of the ids that are in more than one, in the order of the partitions."""
    pairs = scans[[column, "partition"]].drop_duplicates()
    several = pairs[pairs.duplicated(column, keep=False)]
    return {str(name): [p for p in PARTITIONS if p in set(here)] for name, here in several.groupby(column)["partition"]}


def _equal_pixels(scans: pd.DataFrame, datamodule: CollectionData) -> tuple[list[dict[str, Any]], list[str]]:
    """Groups of one hash that cross partitions or patients, by first series; and series of one single value."""
    several = scans[scans.groupby("pixel_hash")["series_uid"].transform("nunique") > 1]
    groups, of_one_value = [], []
    for digest, here in several.groupby("pixel_hash", sort=False):
        uids = here["series_uid"].unique().tolist()
        if datamodule.is_of_one_value(uids[0]):  # read for the few that look alike, not for all
            of_one_value += uids
            continue
        crosses = len(set(here["partition"])) > 1
        if crosses or len(set(here["patient_id"])) > 1:
            members = here[["series_uid", "patient_id", "partition"]].to_dict("records")
            groups.append({"pixel_hash": str(digest), "crosses_partitions": crosses, "scans": members})
    return groups, sorted(of_one_value)
