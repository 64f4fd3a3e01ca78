"""The baseline every report carries, on the same rows as the model: a logistic regression on one or two features.

Candidates: mean HU and size, both measured in the crop. Nodules, whose diameters are all known: the diameter alone.
Images: their grey levels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.data.collection_data import CollectionData
from lungdet.data.ct import CtDataModule
from lungdet.data.images import ImageDataModule
from lungdet.tasks.intensity_size_baseline import features, fit_baseline
from lungdet.training.image_baselines import GREY_LEVELS, grey_levels

log = logging.getLogger(__name__)

MEAN_HU_AND_SIZE = "logistic regression on mean HU and size"
DIAMETER_ALONE = "diameter alone"

# A sphere of 30 mm holds every nodule of LUNA16 but two.
CROP_MM = 36.0
# Logistic regression on two features does not move after some ten thousand rows; LUNA16 has 750,000.
MAX_TRAIN_NEGATIVES = 20_000


def baseline_of(datamodule: CollectionData) -> str:
    """Which baseline `baseline_logits` fits to these data, as reports call it."""
    return GREY_LEVELS if isinstance(datamodule, ImageDataModule) else baseline_name(datamodule.records)


def baseline_name(records: pd.DataFrame) -> str:
    """Which baseline `baseline_logits` fits to these records of CT scans, as reports call it."""
    return DIAMETER_ALONE if _all_have_a_diameter(records) else MEAN_HU_AND_SIZE


def baseline_logits(datamodule: CollectionData, *, seed: int, partitions: Sequence[str] = ("val", "test")) -> pd.Series:
    """Logits of the baseline for the rows of some partitions.

    Args:
        datamodule: after setup; its training rows are what the regression is fitted on. Where every row has a diameter,
            that is the only feature; the regression turns it into a probability and leaves its ranking as it is.
        seed: which training negatives are taken where there are more than 20,000.
        partitions: whose rows are scored.

    Returns:
        float32 Series, indexed like `datamodule.records`; NaN for the other rows.
    """
    records = datamodule.records
    train = np.flatnonzero(records["partition"] == "train")
    label = records["label"].to_numpy()
    negatives = train[label[train] == 0]
    if len(negatives) > MAX_TRAIN_NEGATIVES:
        kept = np.random.default_rng(seed).choice(negatives, MAX_TRAIN_NEGATIVES, replace=False)
        train = np.sort(np.concatenate([train[label[train] == 1], kept]))
    scored = np.flatnonzero(records["partition"].isin(list(partitions)))
    model = fit_baseline(_features(datamodule, train), label[train])
    logits = np.full(len(records), np.nan, np.float32)
    logits[scored] = model.logit(_features(datamodule, scored))
    log.info("baseline (%s) fitted on %d rows", baseline_of(datamodule), len(train))
    return pd.Series(logits, index=records.index)


def _features(datamodule: CollectionData, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    if isinstance(datamodule, ImageDataModule):
        return grey_levels(datamodule, rows)
    scans = cast(CtDataModule, datamodule)  # the other kind of data that there is
    return _diameters(scans, rows) if _all_have_a_diameter(scans.records) else _measured(scans, rows)


def _all_have_a_diameter(records: pd.DataFrame) -> bool:
    return bool(records["diameter_mm"].notna().all())


def _diameters(datamodule: CtDataModule, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    return datamodule.records["diameter_mm"].to_numpy(np.float32)[rows, None]


def _measured(datamodule: CtDataModule, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Mean HU and size of the given rows: float32 [N, 2]; crops are read scan by scan."""
    records = datamodule.records.iloc[rows]
    found: npt.NDArray[np.float32] | None = None
    centers = records[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy()
    for series_uid, places in records.reset_index(drop=True).groupby("series_uid", sort=False).indices.items():
        uid = str(series_uid)
        spacing = datamodule.store.geometry(uid).spacing_zyx_mm
        shape = tuple(max(3, round(CROP_MM / s)) for s in spacing)
        hu = datamodule.store.crops([uid] * len(places), centers[places], (shape[0], shape[1], shape[2]))
        values = features(hu, spacing)
        if found is None:
            found = np.empty((len(rows), values.shape[1]), np.float32)
        found[places] = values
    return found if found is not None else np.empty((0, 2), np.float32)
