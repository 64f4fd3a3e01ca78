"""The seed book's 3 x 4 table of nodules and detections, with both of its thresholds respected."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lungdet.errors import ConfigError, TableError

ROWS = ("non-nodule", "benign", "malignant")
COLUMNS = ("missed", "filtered out", "predicted benign", "predicted malignant")
HIT_DIAMETERS = 0.7
"""The book's match radius in diameters; the challenge's is 0.5."""

_CENTER = ["center_x_mm", "center_y_mm", "center_z_mm"]


def book_confusion(
    detections: pd.DataFrame,
    annotations: pd.DataFrame,
    *,
    nodule_threshold: float = 0.5,
    malignancy_threshold: float = 0.5,
) -> pd.DataFrame:
    """Count what became of every nodule and of every detection that hit none, as chapter 14 of the book does.

    A detection is filtered out below the nodule threshold; else it is predicted malignant from the malignancy threshold
    on, and predicted benign below it or without a malignancy network. (The book's program compares malignancy with the
    nodule threshold too.) A nodule takes the highest class among the detections nearer than 0.7 of its diameter, and is
    missed without one; a detection near several nodules counts for all of them, and near none as a non-nodule.

    Args:
        detections: `Detections.table`, of one or several series.
        annotations: series_uid, center_x_mm, center_y_mm, center_z_mm, diameter_mm and is_malignant, as
            `read_malignancy` gives it; every series in it counts, with detections or not.
        nodule_threshold: lowest probability of a nodule.
        malignancy_threshold: lowest malignancy probability of a malignant one.

    Returns:
        int64 table with index `ROWS` and columns `COLUMNS`; no non-nodule can be missed, so that cell is 0.

    Raises:
        ConfigError: a threshold outside [0, 1].
        TableError: annotations without a needed column.
    """
    for name, value in (("nodule_threshold", nodule_threshold), ("malignancy_threshold", malignancy_threshold)):
        if not 0 <= value <= 1:
            raise ConfigError([f"{name}={value} must lie in [0, 1]"])
    needed = ["series_uid", *_CENTER, "diameter_mm", "is_malignant"]
    missing = [name for name in needed if name not in annotations]
    if missing:
        raise TableError(f"annotations without {', '.join(missing)}; read them with read_malignancy")
    probability = detections["probability"].to_numpy(dtype=np.float64)
    malignancy = detections["malignancy_probability"].to_numpy(dtype=np.float64)
    # NaN, no malignancy network, compares false: predicted benign, as in the book.
    outcome = np.where(probability < nodule_threshold, 1, np.where(malignancy >= malignancy_threshold, 3, 2))
    counts = np.zeros((len(ROWS), len(COLUMNS)), dtype=np.int64)
    unmatched = np.ones(len(detections), dtype=bool)
    centers = detections[_CENTER].to_numpy(dtype=np.float64)
    rows_of = {uid: np.asarray(rows) for uid, rows in detections.groupby("series_uid").indices.items()}
    nodules = zip(
        annotations["series_uid"],
        annotations[_CENTER].to_numpy(dtype=np.float64),
        annotations["diameter_mm"].to_numpy(dtype=np.float64),
        annotations["is_malignant"],
        strict=True,
    )
    for uid, center, diameter, is_malignant in nodules:
        rows = rows_of.get(uid, np.empty(0, dtype=np.int64))
        hits = rows[np.linalg.norm(centers[rows] - center, axis=1) / diameter < HIT_DIAMETERS]
        unmatched[hits] = False
        counts[2 if is_malignant else 1, outcome[hits].max(initial=0)] += 1
    np.add.at(counts[0], outcome[unmatched], 1)
    return pd.DataFrame(counts, index=list(ROWS), columns=list(COLUMNS))
