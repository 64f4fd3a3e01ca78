"""Scans of a few voxels with logits and masks, and the table that the real task counts from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lungdet.losses.segmentation import DiceRecall
from lungdet.tasks.segmentation import Segmentation

SIDE = 12


@dataclass
class Cohort:
    """Tiles of several patients.

    Attributes:
        rows: partition, series_uid, patient_id, candidate_id, label, ...; one a tile.
        logit: float32 [N, 12, 12].
        mask, valid, near: bool [N, 12, 12].
    """

    rows: pd.DataFrame
    logit: np.ndarray
    mask: np.ndarray
    valid: np.ndarray
    near: np.ndarray

    def where(self, partition: str, scope: str) -> np.ndarray:
        """Voxels that count: bool [N, 12, 12]."""
        counted = self.valid & (self.near if scope == "crop_level" else True)
        return counted & (self.rows["partition"] == partition).to_numpy()[:, None, None]

    def table(self) -> pd.DataFrame:
        """What the task's `predict_step` counts, beside the rows."""
        return segmented(self)


def make_cohort(*, n_patients: int = 12, n_tiles: int = 8, seed: int = 0) -> Cohort:
    """A third of the patients validates; every fourth has no nodule; a nodule lies in tiles 3 and 4."""
    rng = np.random.default_rng(seed)
    n = n_patients * n_tiles
    patient, tile = np.divmod(np.arange(n), n_tiles)
    mask = np.zeros((n, SIDE, SIDE), np.bool_)
    near = np.zeros_like(mask)
    with_nodule = (patient % 4 != 3) & np.isin(tile, (3, 4))
    for row in np.flatnonzero(with_nodule):
        size = rng.integers(2, 5)
        mask[row, 4 : 4 + size, 5 : 5 + size] = True
        near[row, 2:10, 3:11] = True
    valid = np.ones_like(mask)
    valid[:, :, -1] = False
    logit = rng.normal(-6, 2.5, mask.shape) + mask * 8
    rows = pd.DataFrame(
        {
            "series_uid": [f"1.2.{p:03d}" for p in patient],
            "patient_id": [f"P{p:03d}" for p in patient],
            "candidate_id": tile,
            "center_x_mm": 0.0,
            "center_y_mm": 0.0,
            "center_z_mm": -1.5 * tile,
            "label": with_nodule.astype(np.int8),
            "diameter_mm": np.nan,
            "fold": 0,
            "partition": np.where(patient < n_patients // 3, "val", "test"),
        }
    )
    return Cohort(rows, logit.astype(np.float32), mask, valid, near)


class _GivenLogits(nn.Module):
    """The image is the logit."""

    def forward(self, image: Tensor) -> Tensor:
        return image


def segmented(cohort: Cohort) -> pd.DataFrame:
    """Rows with the columns of the real `predict_step`, histograms as one array a row."""
    task = Segmentation(net=_GivenLogits(), loss=DiceRecall(), channels_last=False)
    tensors = {
        name: torch.from_numpy(values)[:, None]
        for name, values in (
            ("image", cohort.logit),
            ("mask", cohort.mask),
            ("valid", cohort.valid),
            ("near", cohort.near),
        )
    }
    n = len(cohort.rows)
    batch: Any = {**tensors, "index": torch.arange(n), "is_repeat": torch.zeros(n, dtype=torch.bool)}
    counted = {name: values.numpy() for name, values in task.predict_step(batch, 0).items()}
    del counted["index"]
    return cohort.rows.assign(**{k: v if v.ndim == 1 else list(v) for k, v in counted.items()})


def ceiling_of(cohort: Cohort, *, by_readers: bool = True) -> dict[str, Any]:
    """A reader ceiling for the patients with nodules: pooled Dice .8 each."""
    measured = {}
    for partition, rows in cohort.rows.groupby("partition"):
        patients = sorted(rows.loc[rows["label"] == 1, "patient_id"].unique()) if by_readers else []
        n_scans = rows["series_uid"].nunique()
        measured[str(partition)] = {
            "n_scans": n_scans if by_readers else 0,
            "n_scans_by_rule": 0 if by_readers else n_scans,
            "n_single_reader": 2,
            "nodules": {
                "series_uid": [f"1.2.{p[1:]}" for p in patients],
                "patient_id": patients,
                "n_readers": [3] * len(patients),
                "shared": [8 * (k + 1) for k in range(len(patients))],
                "marked": [10 * (k + 1) for k in range(len(patients))],
            },
        }
    return measured
