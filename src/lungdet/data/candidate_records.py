"""From the tables of a collection to the records of a DataModule: candidates in stored scans, with their partition."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lungdet.data.candidate_dataset import CENTER_COLUMNS
from lungdet.data.partitions import Split, patient_table
from lungdet.data.splits import SplitRule
from lungdet.errors import TableError

logger = logging.getLogger(__name__)


def make_records(
    series: pd.DataFrame, table: pd.DataFrame, *, nodules: pd.DataFrame, stored: Sequence[str], rule: SplitRule
) -> tuple[pd.DataFrame, Split]:
    """Candidates of stored scans, sorted by series and candidate, and the split of their patients.

    Args:
        series: series_uid, patient_id and, where there are such, subset; one row per scan on disk.
        table: candidate_id int64, series_uid, center_x_mm, center_y_mm, center_z_mm, is_nodule bool (the label),
            diameter_mm float64 (NaN where unknown).
        nodules: series_uid of each annotated nodule; patients are stratified by them, see `split_patients`.
        stored: series the store holds.
        rule: which patients train, validate and test.

    Returns:
        candidate_id int64, series_uid, patient_id, center_x_mm, center_y_mm, center_z_mm, label int8, diameter_mm,
        partition; RangeIndex.

    Raises:
        TableError: no candidate lies in a stored scan.
        SplitError: the rule cannot split these patients.
    """
    n_series = len(series)
    series = series[series["series_uid"].isin(list(stored))].sort_values("series_uid", ignore_index=True)
    uids = pd.Index(series["series_uid"])
    code = uids.get_indexer(pd.Index(table["series_uid"]))
    _report_dropped(table, code, n_series=n_series, n_stored=len(series))
    kept = np.flatnonzero(code >= 0)
    kept = kept[np.lexsort((table["candidate_id"].to_numpy()[kept], code[kept]))]
    code = code[kept]
    label = table["is_nodule"].to_numpy()[kept].astype(np.int8)
    split = split_patients(series, nodules, rule=rule)
    # By series first: 888 look-ups instead of 755,000.
    partition = split.partition_of(series["patient_id"].astype(str))
    records = pd.DataFrame(
        {
            "candidate_id": table["candidate_id"].to_numpy(np.int64)[kept],
            "series_uid": _repeated(uids, code),
            "patient_id": _repeated(pd.Index(series["patient_id"].astype(str)), code),
            **{name: table[name].to_numpy(np.float64)[kept] for name in CENTER_COLUMNS},
            "label": label,
            "diameter_mm": table["diameter_mm"].to_numpy(np.float64)[kept],
            "partition": _repeated(pd.Index(partition), code),
        }
    )
    return records, split


def split_patients(series: pd.DataFrame, nodules: pd.DataFrame, *, rule: SplitRule) -> Split:
    """The split of a collection's patients: the same for every kind of sample that is drawn from it.

    So a segmentation, a classifier and a malignancy model that were trained with one `split=` have the same test
    patients, and a detector made of the three is judged on patients that none of them has seen.

    Args:
        series: series_uid, patient_id and, where there are such, subset.
        nodules: series_uid of each annotated nodule; strata are made of their number, not of labels.
        rule: which patients train, validate and test.

    Raises:
        SplitError: the rule cannot split these patients.
    """
    counts = nodules["series_uid"].value_counts()
    # Every scan has places without a nodule, whatever kind of sample shows them.
    places = pd.Series(1, index=series["series_uid"])
    return rule(patient_table(series, n_positive=counts, n_negative=places))


def keep_stored_points(points: pd.DataFrame, *, stored: Sequence[str]) -> pd.DataFrame:
    """Points that lie in a stored scan, in their order, with all their columns; RangeIndex.

    Raises:
        TableError: a column is missing, or no point lies in a stored scan.
    """
    missing = {"series_uid", *CENTER_COLUMNS} - set(points.columns)
    if missing:
        raise TableError(f"points to score lack the column(s) {sorted(missing)}; they have {list(points.columns)}")
    inside = points["series_uid"].isin(list(stored))
    if not inside.any():
        first = points["series_uid"].iloc[0] if len(points) else "none given"
        raise TableError(
            f"none of the {len(points)} points lies in one of the {len(stored)} stored scans (first series: {first}); "
            "preprocess the scans they belong to, or give data.store_path= of the store that holds them"
        )
    if not inside.all():
        logger.warning(
            "%d of %d points are left out: their scans are not in the store", int((~inside).sum()), len(points)
        )
    return points[inside].reset_index(drop=True)


def _report_dropped(table: pd.DataFrame, code: np.ndarray, *, n_series: int, n_stored: int) -> None:
    dropped = int((code < 0).sum())
    if dropped == len(table):
        raise TableError(
            f"none of the {len(table)} candidates lies in one of the {n_stored} stored scans of this collection; "
            "preprocess its scans, or give the store that holds them by data.store_path="
        )
    if dropped or n_stored < n_series:
        logger.warning(
            "%d of %d scans on disk are in the store; %d of %d candidates are left out",
            n_stored,
            n_series,
            dropped,
            len(table),
        )


def _repeated(values: pd.Index, code: np.ndarray) -> pd.Series:
    return pd.Series(values.astype("str").take(code))
