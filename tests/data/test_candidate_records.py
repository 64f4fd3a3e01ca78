"""Records: only candidates of stored scans, sorted, each in the partition of its patient."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungdet.bench.drawn.luna16_folder import TableSizes, uids, write_empty_store, write_folder
from lungdet.data.candidate_dataset import CandidateDataset
from lungdet.data.candidate_records import keep_stored_points, make_records
from lungdet.data.partitions import Split
from lungdet.data.splits import GroupedKFold
from lungdet.errors import SplitError, TableError
from lungdet.io.luna16 import read_luna16
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

COLUMNS = [
    "candidate_id",
    "series_uid",
    "patient_id",
    "center_x_mm",
    "center_y_mm",
    "center_z_mm",
    "label",
    "diameter_mm",
    "partition",
]


NODULES = pd.DataFrame({"series_uid": ["s4", "s1", "s1", "s4", "s4"]})


def collection() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three patients; a has two series. Candidates in shuffled order."""
    series = pd.DataFrame(
        {"series_uid": ["s4", "s1", "s2", "s3"], "patient_id": ["c", "a", "a", "b"], "subset": [3, 0, 1, 2]}
    )
    candidates = pd.DataFrame(
        {
            "candidate_id": [10, 11, 12, 13, 14, 15],
            "series_uid": ["s3", "s1", "s4", "s1", "s2", "s3"],
            "center_x_mm": [0.0, 1, 2, 3, 4, 5],
            "center_y_mm": 7.0,
            "center_z_mm": -1.0,
            "is_nodule": [True, False, True, True, False, False],
            "diameter_mm": [4.0, np.nan, 6.0, 9.5, np.nan, np.nan],
        }
    )
    return series, candidates


class ByLetter:
    """a trains, b validates, c tests; remembers what it was given."""

    def __call__(self, patients: pd.DataFrame) -> Split:
        self.patients = patients
        given = patients["patient_id"].tolist()
        train, val, test = (tuple(p for p in given if p == letter) for letter in "abc")
        return Split(train, val, test, rule="by letter")


def test_records_are_sorted_and_carry_their_patient_and_partition() -> None:
    records, split = make_records(*collection(), nodules=NODULES, stored=["s1", "s2", "s3", "s4"], rule=ByLetter())
    assert list(records.columns) == COLUMNS
    assert records.index.tolist() == list(range(6))
    assert records["candidate_id"].tolist() == [11, 13, 14, 10, 15, 12]
    assert records["series_uid"].tolist() == ["s1", "s1", "s2", "s3", "s3", "s4"]
    assert records["patient_id"].tolist() == ["a", "a", "a", "b", "b", "c"]
    assert records["partition"].tolist() == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert records["label"].tolist() == [0, 1, 0, 1, 0, 1]
    assert records["label"].dtype == np.int8
    assert records["diameter_mm"].tolist() == pytest.approx([np.nan, 9.5, np.nan, 4, np.nan, 6], nan_ok=True)
    assert records["center_x_mm"].tolist() == [1, 3, 4, 0, 5, 2]
    assert split.rule == "by letter"


def test_rule_sees_nodules_series_and_subsets_of_each_patient() -> None:
    """Annotated nodules, not candidates: so every kind of sample gets the same split."""
    rule = ByLetter()
    make_records(*collection(), nodules=NODULES, stored=["s1", "s2", "s3", "s4"], rule=rule)
    assert rule.patients.to_dict("list") == {
        "patient_id": ["a", "b", "c"],
        "n_series": [2, 1, 1],
        "n_positive": [2, 0, 3],
        "n_negative": [2, 1, 1],
        "subsets": [(0, 1), (2,), (3,)],
    }


def test_candidates_of_scans_that_are_not_stored_are_dropped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    rule = ByLetter()
    with caplog.at_level(logging.WARNING):
        records, _ = make_records(*collection(), nodules=NODULES, stored=["s1", "s3", "elsewhere"], rule=rule)
    assert records["series_uid"].tolist() == ["s1", "s1", "s3", "s3"]
    assert rule.patients["patient_id"].tolist() == ["a", "b"]
    assert "2 of 4 scans on disk are in the store; 2 of 6 candidates are left out" in caplog.text


def test_complete_store_is_not_talked_about(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make_records(*collection(), nodules=NODULES, stored=["s1", "s2", "s3", "s4"], rule=ByLetter())
    assert caplog.text == ""


def test_no_candidate_in_the_store() -> None:
    with pytest.raises(TableError, match=r"none of the 6 candidates .* the 0 stored scans.*data\.store_path="):
        make_records(*collection(), nodules=NODULES, stored=["elsewhere"], rule=ByLetter())


def test_rule_that_forgets_a_patient() -> None:
    def forgetful(patients: pd.DataFrame) -> Split:
        return Split(train=("a",), val=("b",), test=(), rule="forgetful")

    with pytest.raises(SplitError, match=r"forgetful does not know 1 patient\(s\): c"):
        make_records(*collection(), nodules=NODULES, stored=["s1", "s2", "s3", "s4"], rule=forgetful)


def points() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "series_uid": ["s2", "x", "s1"],
            "center_x_mm": [1.0, 2, 3],
            "center_y_mm": 0.0,
            "center_z_mm": 0.0,
            "source": "a",
        }
    )


def test_points_in_stored_scans_keep_their_order_and_columns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        kept = keep_stored_points(points(), stored=["s1", "s2"])
    assert kept["center_x_mm"].tolist() == [1, 3]
    assert kept.index.tolist() == [0, 1]
    assert kept["source"].tolist() == ["a", "a"]
    assert "1 of 3 points are left out" in caplog.text


def test_points_without_a_scan() -> None:
    with pytest.raises(TableError, match=r"none of the 3 points .* the 1 stored scans \(first series: s2\)"):
        keep_stored_points(points(), stored=["s9"])
    with pytest.raises(TableError, match=r"first series: none given"):
        keep_stored_points(points().head(0), stored=["s9"])


def test_points_without_a_place() -> None:
    with pytest.raises(TableError, match=r"lack the column\(s\) \['center_z_mm'\]"):
        keep_stored_points(points().drop(columns="center_z_mm"), stored=["s1"])


def test_no_python_object_is_made_for_a_row(tmp_path: Path) -> None:
    """Texts lie in Arrow buffers, the rest in numpy arrays; what a worker is sent is 36 bytes a row and no more.

    A table of 755,000 rows with object columns takes 150 MB more, and a forked worker copies them page by page.
    """
    sizes = TableSizes(20, 20_000, 40)
    collection = read_luna16(write_folder(tmp_path, sizes))
    assert collection.candidates is not None
    records, _ = make_records(
        collection.series,
        collection.candidates,
        nodules=collection.annotations,
        stored=uids(sizes),
        rule=GroupedKFold(n_folds=3),
    )
    for table in (collection.candidates, records):
        for name, dtype in table.dtypes.items():
            assert not pd.api.types.is_object_dtype(dtype), name
            assert not isinstance(dtype, pd.StringDtype) or dtype.storage == "pyarrow", name
    store = CtStore(write_empty_store(tmp_path / "store.zarr", uids(sizes), StoreSpec(lung_mask=False)))
    dataset = CandidateDataset(store, records, shape_zyx=(2, 2, 2))
    for name, value in vars(dataset).items():
        if isinstance(value, np.ndarray) and len(value) == len(records):
            assert value.dtype != object, name
    few = CandidateDataset(store, records.iloc[::2], shape_zyx=(2, 2, 2))
    sent, sent_of_half = len(pickle.dumps(dataset)), len(pickle.dumps(few))
    assert (sent - sent_of_half) / (len(dataset) - len(few)) == pytest.approx(36, abs=0.5)
