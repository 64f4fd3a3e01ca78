"""How well the readers of the evaluated scans agree: the ceiling that a segmentation report shows beside its Dice."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from lungdet.data.ct import CtDataModule
from lungdet.data.mask_samples import MaskSamples
from lungdet.errors import ConfigError
from lungdet.evaluation.predictions import PARTITIONS
from lungdet.metrics.readers import join_agreements, reader_agreement
from lungdet.store.mask_store import MaskStore

log = logging.getLogger(__name__)


def reader_ceiling(datamodule: CtDataModule) -> dict[str, Any]:
    """Agreement of the readers who drew the masks of the validation and test scans.

    Args:
        datamodule: after setup, with samples of masks.

    Returns:
        JSON-ready. Partition (`val`, `test`) -> n_scans (with masks of readers), n_scans_by_rule (left out: a rule made
        their masks), n_single_reader (nodules left out: one reader marked them), pooled_dice, mean_dice (None without
        nodules), and nodules: series_uid, patient_id, n_readers, shared, marked, lists of one entry a nodule; see
        `lungdet.metrics.readers.ReaderAgreement`.

    Raises:
        ConfigError: samples without masks.
        StoreError: a scan without masks.
    """
    samples = datamodule.samples
    if not isinstance(samples, MaskSamples):
        raise ConfigError(
            [f"readers agree on masks, not on {type(samples).__name__}; type data/samples=slices or patches"]
        )
    masks = samples.targets.store_of(datamodule.store)
    scans = datamodule.records[["partition", "series_uid", "patient_id"]].drop_duplicates("series_uid")
    scans = scans.sort_values("series_uid")
    return {name: _of_scans(masks, scans[scans["partition"] == name]) for name in PARTITIONS}


def _of_scans(masks: MaskStore, scans: pd.DataFrame) -> dict[str, Any]:
    by_readers = np.array([masks.made_by(str(uid)) == "readers" for uid in scans["series_uid"]], np.bool_)
    drawn = scans[by_readers]
    agreements = [reader_agreement(masks.volume(str(uid))) for uid in drawn["series_uid"]]
    joined = join_agreements(agreements)
    n_nodules = [len(agreement) for agreement in agreements]
    log.info("readers agree on %d nodules of %d scans: Dice %.3f", len(joined), len(drawn), joined.pooled_dice)
    return {
        "n_scans": len(drawn),
        "n_scans_by_rule": len(scans) - len(drawn),
        "n_single_reader": joined.n_single,
        "pooled_dice": joined.pooled_dice if len(joined) else None,
        "mean_dice": joined.mean_dice if len(joined) else None,
        "nodules": {
            "series_uid": np.repeat(drawn["series_uid"].to_numpy(object), n_nodules).tolist(),
            "patient_id": np.repeat(drawn["patient_id"].to_numpy(object), n_nodules).tolist(),
            "n_readers": joined.n_readers.tolist(),
            "shared": joined.shared.tolist(),
            "marked": joined.marked.tolist(),
        },
    }
