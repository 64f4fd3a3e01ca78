"""The answer for one scan: a table of detections, a patient score, seconds per stage, and what to be careful about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.pipeline.regions import Region

COLUMNS: Mapping[str, str] = {
    "series_uid": "str",
    "candidate_id": "int64",
    "center_x_mm": "float64",
    "center_y_mm": "float64",
    "center_z_mm": "float64",
    "probability": "float32",
    "logit": "float32",
    "malignancy_probability": "float32",
    "diameter_mm": "float64",
    "mean_hu": "float64",
    "distance_to_pleura_mm": "float64",
}
"""Column of `Detections.table` -> its type. What was not computed is NaN."""


@dataclass(frozen=True)
class Detections:
    """What a pipeline found in one scan.

    Attributes:
        table: one row per candidate, columns `COLUMNS`, RangeIndex equal to candidate_id. The seed book's recipe keeps
            the book's order (by x, y, z), the default recipe sorts by falling probability.
        patient: `nodule_probability` and `malignancy_probability` of the whole scan (NaN where the scan could not be
            judged), `n_candidates`, `n_nodules`, and the `rule` that made one number of many.
        seconds: stage -> wall-clock seconds.
        recipe: the settings that made this, ready for JSON.
        notes: what a reader of the result has to know, such as a scan without lungs; empty when all went as usual.
        regions: the voxels of each row of the table, in its order.
    """

    table: pd.DataFrame
    patient: dict[str, Any]
    seconds: dict[str, float]
    recipe: dict[str, Any]
    notes: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()


def detection_table(
    series_uid: str, center_xyz_mm: npt.NDArray[np.float64], columns: Mapping[str, npt.ArrayLike]
) -> pd.DataFrame:
    """Build the table of `Detections`, in the order given.

    Args:
        series_uid: of the scan.
        center_xyz_mm: float64 [N, 3], world.
        columns: any of the other columns, [N] each; the rest becomes NaN. `probability` is derived from `logit` where
            it is not given.

    Returns:
        DataFrame with `COLUMNS`, N rows.
    """
    n = len(center_xyz_mm)
    given: dict[str, Any] = {"series_uid": [series_uid] * n, "candidate_id": np.arange(n), **columns}
    given |= {f"center_{axis}_mm": center_xyz_mm[:, k] for k, axis in enumerate("xyz")}
    if "probability" not in given:
        given["probability"] = sigmoid(np.asarray(columns["logit"]))
    table = pd.DataFrame({name: given.get(name, np.full(n, np.nan)) for name in COLUMNS})
    return table.astype(dict(COLUMNS))


def sigmoid(logit: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Probability of a logit, in float64, without overflow and without losing the smallest."""
    x = np.asarray(logit, dtype=np.float64)
    small = np.exp(-np.abs(x))
    probability: npt.NDArray[np.float64] = np.where(x >= 0, 1.0, small) / (1.0 + small)
    return probability
