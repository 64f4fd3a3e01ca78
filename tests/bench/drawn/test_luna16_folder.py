"""The drawn folder reads as a LUNA16 download: counts, a diameter for every nodule, a patient of two series."""

from __future__ import annotations

from pathlib import Path

from lungdet.bench.drawn.luna16_folder import TableSizes, uids, write_empty_store, write_folder
from lungdet.io.luna16 import read_luna16
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

SIZES = TableSizes(12, 900, 15)


def test_every_positive_has_its_annotation_and_nothing_is_left_out(tmp_path: Path) -> None:
    collection = read_luna16(write_folder(tmp_path, SIZES))
    assert list(collection.scan_paths) == uids(SIZES)
    assert collection.counts["candidates_kept"] == collection.counts["candidates_read"] == 900
    assert collection.counts["positives_kept"] == 15 + 5
    assert collection.counts["positives_without_annotation"] == 0
    assert collection.counts["annotations_kept"] == 15
    assert collection.counts["excluded_kept"] == 450
    assert collection.candidates is not None
    nodules = collection.candidates[collection.candidates["is_nodule"]]
    assert set(nodules["annotation_row"]) == set(range(15))
    assert collection.candidates["series_uid"].is_monotonic_increasing


def test_two_series_are_one_patient_and_all_ten_subsets_are_there(tmp_path: Path) -> None:
    series = read_luna16(write_folder(tmp_path, SIZES)).series
    assert series["patient_id"].nunique() == 11
    assert series["patient_id"].iloc[0] == series["patient_id"].iloc[1]
    assert sorted(series["subset"].unique()) == list(range(10))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other, third = (write_folder(tmp_path / str(n), SIZES, seed=n // 2) for n in range(3))
    assert (one / "candidates_V2.csv").read_bytes() == (other / "candidates_V2.csv").read_bytes()
    assert (one / "candidates_V2.csv").read_bytes() != (third / "candidates_V2.csv").read_bytes()


def test_the_store_knows_its_scans(tmp_path: Path) -> None:
    path = write_empty_store(tmp_path / "store.zarr", uids(SIZES), StoreSpec(lung_mask=False))
    assert CtStore(path, expect=StoreSpec(lung_mask=False)).series_uids == tuple(uids(SIZES))
