"""`data.clinical`: a table keyed by patient or series becomes numbers beside each sample, NaN where unknown."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.data.candidate_dataset import CENTER_COLUMNS
from lungdet.errors import ConfigError, TableError
from lungdet.io.clinical import ClinicalKey, ClinicalRows, read_clinical
from lungdet.store.reader import CtStore

logger = logging.getLogger(__name__)

Derived = Literal["diameter_mm", "height_in_scan"]


@dataclass(frozen=True)
class ClinicalFeatures:
    """Features of every row of a DataModule's records.

    Attributes:
        names: of the columns: `age_years`, `smoking_status=former`.
        values: float32 [N, F], NaN where missing.
        label: int64 [N].
        is_training: bool [N].
        row_weight: float32 [N], one over the training rows of the patient, so that each patient weighs the same
            however many nodules they have; 0 outside training.
        summary: ready for provenance.json, see `ClinicalTable.encode`.
    """

    names: tuple[str, ...]
    values: npt.NDArray[np.float32]
    label: npt.NDArray[np.int64]
    is_training: npt.NDArray[np.bool_]
    row_weight: npt.NDArray[np.float32]
    summary: dict[str, Any]


class ClinicalTable:
    """Which table, and what of it.

    Args:
        path: a CSV file with one row per patient or series; relative to `data.root`.
        key: `patient_id` or `series_uid`; null finds out which column is there.
        features: columns to use; null takes all.
        categorical: columns whose numbers are codes, not quantities.
        derived: features that need no table: `diameter_mm` of the sample, and `height_in_scan`, 0 at the lowest slice
            and 1 at the highest.

    Raises:
        ConfigError: an unknown derived feature.
    """

    def __init__(
        self,
        *,
        path: Path | str,
        key: ClinicalKey | None = None,
        features: Sequence[str] | None = None,
        categorical: Sequence[str] = (),
        derived: Sequence[Derived] = (),
    ) -> None:
        unknown = sorted(set(derived) - set(get_args(Derived)))
        if unknown:
            allowed = ", ".join(get_args(Derived))
            raise ConfigError([f"data.clinical.derived: {', '.join(unknown)} cannot be derived; allowed: {allowed}"])
        self.path, self.key = Path(path), key
        self.features = None if features is None else list(features)
        self.categorical, self.derived = list(categorical), list(derived)

    def file(self, root: Path) -> Path:
        """Where the table lies, for a collection at `root`."""
        return root / self.path.expanduser()  # an absolute path stays as it is

    def encode(self, records: pd.DataFrame, *, root: Path, store: CtStore) -> ClinicalFeatures:
        """Features of each record.

        A column of numbers stays one. Of a column of categories, those that training patients have become columns of 0
        and 1; one column is enough for two. A category that no training patient has counts as missing, and so does
        everything about a patient without a row.

        Args:
            records: series_uid, patient_id, center_*_mm, diameter_mm, label, partition.
            root: of the collection.
            store: the scans' geometry, for derived features.

        Returns:
            Its `summary` holds file, sha256, key, features (names) and, for each partition, n_patients,
            without_a_row (patients) and missing (share of the patients without a value, for each column of the table).

        Raises:
            MissingFileError, TableError: see `lungdet.io.clinical.read_clinical`; a table without a row of any patient.
        """
        rows = read_clinical(self.file(root), key=self.key, columns=self.features, categorical=self.categorical)
        at = rows.values.index.get_indexer(pd.Index(records[rows.key].astype(str)))
        if len(records) and (at < 0).all():
            raise TableError(
                f"{rows.path} has no row for any of these {rows.key}s: it has {rows.values.index[0]}, ..., the samples "
                f"are of {records[rows.key].iloc[0]}, ...; check data.clinical.key and the ids"
            )
        is_training = records["partition"].to_numpy() == "train"
        encoded = {name: _encode(rows, name, at=at, is_training=is_training) for name in rows.columns}
        for name in self.derived:
            encoded[name] = {name: _DERIVE[name](records, store)}
        columns = {name: column for group in encoded.values() for name, column in group.items()}
        return ClinicalFeatures(
            names=tuple(columns),
            values=np.stack(list(columns.values()), axis=1).astype(np.float32),
            label=records["label"].to_numpy(np.int64),
            is_training=is_training,
            row_weight=_row_weight(records["patient_id"], is_training=is_training),
            summary={
                "file": rows.path.name,
                "sha256": hashlib.sha256(rows.path.read_bytes()).hexdigest(),
                "key": rows.key,
                "features": list(columns),
                **_missing_values(records, encoded, is_absent=at < 0),
            },
        )


def _encode(
    rows: ClinicalRows, name: str, *, at: npt.NDArray[np.intp], is_training: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.float64]]:
    """One column of the table as one or more of numbers; `at` is the row of each record, -1 for none."""
    if rows.is_number(name):
        return {name: np.where(at >= 0, rows.values[name].to_numpy()[at], np.nan)}
    column = rows.values[name].tolist()
    texts = np.array([column[row] if row >= 0 else None for row in at], object)
    there = sorted({text for text in texts[is_training] if text is not None})
    if len(there) < 2:
        # Nothing to tell apart: NaN, so that the fusion gives it no weight, and the report says that all is missing.
        return {name: np.full(len(at), np.nan)}
    if new := sorted({text for text in texts if text is not None} - set(there)):
        logger.warning("%s: no training patient has %s = %s; it counts as missing", rows.path, name, ", ".join(new))
    unseen = np.array([text not in there for text in texts], np.bool_)
    wanted = there[1:] if len(there) == 2 else there
    return {f"{name}={text}": np.where(unseen, np.nan, (texts == text).astype(np.float64)) for text in wanted}


def _row_weight(patient_id: pd.Series, *, is_training: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    codes, _ = pd.factorize(patient_id)
    n_rows = np.bincount(codes[is_training], minlength=int(codes.max(initial=-1)) + 1)
    return np.where(is_training, 1 / np.maximum(n_rows[codes], 1), 0).astype(np.float32)


def _missing_values(
    records: pd.DataFrame,
    encoded: dict[str, dict[str, npt.NDArray[np.float64]]],
    *,
    is_absent: npt.NDArray[np.bool_],
) -> dict[str, dict[str, Any]]:
    """Partition -> how much is missing, counted by patient: one counts as missing as far as their samples do."""
    gone = pd.DataFrame({name: np.isnan(next(iter(group.values()))) for name, group in encoded.items()})
    gone["\0row"] = is_absent
    by_patient = gone.astype(float).groupby([records["partition"].to_numpy(), records["patient_id"].to_numpy()]).mean()
    found = {}
    for partition in ("train", "val", "test"):
        inside = by_patient[by_patient.index.get_level_values(0) == partition]
        found[partition] = {
            "n_patients": len(inside),
            "without_a_row": int((inside["\0row"] > 0).sum()),
            "missing": {name: float(inside[name].mean()) if len(inside) else None for name in encoded},
        }
    return found


def _diameter(records: pd.DataFrame, store: CtStore) -> npt.NDArray[np.float64]:
    return records["diameter_mm"].to_numpy(np.float64)


def _height_in_scan(records: pd.DataFrame, store: CtStore) -> npt.NDArray[np.float64]:
    """World z within the extent of the scan's voxels, whichever way its axes point."""
    height = np.empty(len(records))
    centers = records[CENTER_COLUMNS].to_numpy(np.float64)
    for uid, places in records.groupby("series_uid", sort=False).indices.items():
        geometry = store.geometry(str(uid))
        corners = np.stack(np.meshgrid(*((0, n - 1) for n in geometry.shape_zyx), indexing="ij"), -1).reshape(-1, 3)
        z = geometry.index_to_world(corners)[:, 2]
        height[places] = (centers[places, 2] - z.min()) / (z.max() - z.min())
    return height


_DERIVE: dict[str, Callable[[pd.DataFrame, CtStore], npt.NDArray[np.float64]]] = {
    "diameter_mm": _diameter,
    "height_in_scan": _height_in_scan,
}
