"""The leak audit of real DataModules: counts by hand, planted copies by name, cubes, mined tables."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from lungdet.data.intensity import Window
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.partitions import Split
from lungdet.data.patch_folder import PatchFolderDataModule
from lungdet.data.sampling import NaturalSampling
from lungdet.errors import RunError
from lungdet.io.luna16 import find_scans
from lungdet.io.negatives_table import write_negatives
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import CropSize, StoreSpec
from lungdet.training.leak_audit import leak_audit

SHAPE = (12, 14, 16)
SPEC = StoreSpec(spacing_mm="native", lung_mask=False)
HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = {offset} 0 0
ElementSpacing = 1 1 1
DimSize = 16 14 12
ElementType = MET_SHORT
ElementDataFile = {uid}.raw
"""
# Series, patient, seed of the pixels. 1.6 is 1.1 under other names and elsewhere in space; 1.7 is 1.2 again, of one
# patient; 1.8 is 1.3 under another patient of the same partition; 1.9 and 1.10 hold nothing.
SCANS = [
    ("1.1", "A", 1), ("1.2", "B", 2), ("1.3", "C", 3), ("1.4", "D", 4), ("1.5", "E", 5), ("1.6", "F", 1),
    ("1.7", "B", 2), ("1.8", "G", 3), ("1.9", "H", None), ("1.10", "I", None),
]  # fmt: skip
SPLIT = Split(train=("A", "C", "G", "H"), val=("B", "D"), test=("E", "F", "I"), rule="by hand")


def voxels(seed: int | None) -> npt.NDArray[np.int16]:
    if seed is None:
        return np.full(SHAPE, -1000, np.int16)
    return np.random.default_rng(seed).integers(-1000, 300, SHAPE).astype(np.int16)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scans of `SCANS` with two candidates each, the first of series 1.1 to 1.5 a nodule; and their store."""
    root = tmp_path_factory.mktemp("collection")
    (root / "subset0").mkdir()
    points = []
    for n, (uid, _, seed) in enumerate(SCANS):
        voxels(seed).astype("<i2").tofile(root / "subset0" / f"{uid}.raw")
        (root / "subset0" / f"{uid}.mhd").write_text(HEADER.format(uid=uid, offset=n))
        points += [(uid, n + 5, 5, 5, int(n < 5)), (uid, n + 9, 9, 6, 0)]
    columns = ["seriesuid", "coordX", "coordY", "coordZ", "class"]
    table = pd.DataFrame(points, columns=columns)
    table.to_csv(root / "candidates_V2.csv", index=False)
    nodules = table[table["class"] == 1].drop(columns="class").assign(diameter_mm=2.0)
    nodules.to_csv(root / "annotations.csv", index=False)
    series = pd.DataFrame(
        [(uid, 0, patient) for uid, patient, _ in SCANS], columns=["seriesuid", "subset", "patient_id"]
    )
    series.to_csv(root / "series.csv", index=False)
    assert not preprocess(find_scans(root), root / "store", SPEC).failed
    return root


@pytest.fixture
def open_data(collection: Path) -> Callable[..., Luna16DataModule]:
    def opened(split: Split = SPLIT, **changed: Any) -> Luna16DataModule:
        given: dict[str, Any] = {
            "root": collection,
            "store_path": collection / "store",
            "store": SPEC,
            "crop": CropSize(vox=(4, 4, 4)),
            "window": Window(range_hu=(-1000, 400), scale="unit"),
            "sampling": NaturalSampling(),
            "split": lambda _: split,
        }
        datamodule = Luna16DataModule(**given | changed)
        datamodule.setup()
        return datamodule

    return opened


def test_counts_and_planted_copies(
    open_data: Callable[..., Luna16DataModule], caplog: pytest.LogCaptureFixture
) -> None:
    datamodule = open_data()
    audit = leak_audit(datamodule)
    assert json.loads(json.dumps(audit, allow_nan=False)) == audit
    assert audit["partitions"] == {
        "train": {"patients": 4, "series": 4, "rows": 8, "labels": {"non_nodule": 6, "nodule": 2}},
        "val": {"patients": 2, "series": 3, "rows": 6, "labels": {"non_nodule": 4, "nodule": 2}},
        "test": {"patients": 3, "series": 3, "rows": 6, "labels": {"non_nodule": 5, "nodule": 1}},
    }
    assert audit["scans_hashed"] == 10
    assert audit["shared_patients"] == audit["shared_series"] == {}
    assert (audit["fold"], audit["split_hash"]) == (None, SPLIT.hash)
    across, within = audit["equal_pixels"]
    assert across["crosses_partitions"] is True
    assert across["scans"] == [
        {"series_uid": "1.1", "patient_id": "A", "partition": "train"},
        {"series_uid": "1.6", "patient_id": "F", "partition": "test"},
    ]
    assert within["crosses_partitions"] is False
    assert [(scan["series_uid"], scan["patient_id"]) for scan in within["scans"]] == [("1.3", "C"), ("1.8", "G")]
    assert audit["scans_of_one_value"] == ["1.10", "1.9"], "empty scans are equal, and no copies of each other"
    assert "patient A, series 1.1: train; patient F, series 1.6: test" in caplog.text


def test_voxels_are_read_of_groups_only(
    open_data: Callable[..., Luna16DataModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    datamodule = open_data()
    read: list[str] = []
    whole = CtStore.volume

    def watched(self: CtStore, uid: str) -> npt.NDArray[np.int16]:
        read.append(uid)
        return whole(self, uid)

    monkeypatch.setattr(CtStore, "volume", watched)
    leak_audit(datamodule)
    assert read == ["1.1", "1.10", "1.2", "1.3"], "one of each group of equal hashes"


def test_no_leak_where_the_copies_are_of_one_side(open_data: Callable[..., Luna16DataModule]) -> None:
    sound = Split(train=("A", "F", "C", "G", "H"), val=("B", "D"), test=("E", "I"), rule="by hand")
    audit = leak_audit(open_data(sound))
    assert [group["crosses_partitions"] for group in audit["equal_pixels"]] == [False, False]


def test_records_that_contradict_the_split_are_found(open_data: Callable[..., Luna16DataModule]) -> None:
    """The split cannot hold a patient twice, so such a leak comes from rows that were added later."""
    datamodule = open_data()
    row = datamodule.records[datamodule.records["series_uid"] == "1.5"].head(1)
    datamodule._records = pd.concat([datamodule.records, row.assign(partition="train")], ignore_index=True)
    audit = leak_audit(datamodule)
    assert audit["shared_patients"] == {"E": ["train", "test"]}
    assert audit["shared_series"] == {"1.5": ["train", "test"]}


def test_mined_tables_say_whose_network_chose_them(
    open_data: Callable[..., Luna16DataModule], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)  # a table without a card, and one of another split, are announced
    table = pd.DataFrame({"series_uid": ["1.8"], "probability": [0.5], "source": ["background"]})
    here = {"center_y_mm": 3.0, "center_z_mm": 3.0}
    for n, (name, hashed) in enumerate({"same": SPLIT.hash, "other": "f" * 64}.items()):
        write_negatives(
            tmp_path / f"{name}.csv", table.assign(center_x_mm=8.0 + n, **here), card={"split_hash": hashed}
        )
    (tmp_path / "bare.csv").write_text("seriesuid,coordX,coordY,coordZ,class\n1.8,12,3,3,0\n")
    tables = [str(tmp_path / f"{name}.csv") for name in ("same", "other", "bare")]
    audit = leak_audit(open_data(extra_negatives=tables))
    assert [(entry["table"], entry["same_split"]) for entry in audit["extra_negatives"]] == list(
        zip(tables, (True, False, None), strict=True)
    )
    assert audit["partitions"]["train"]["labels"] == {"non_nodule": 9, "nodule": 2}
    assert audit["partitions"]["train"]["series"] == 4


def test_cubes_of_a_folder(tmp_path: Path) -> None:
    """Cube 3 is cube 0 again, filed under another patient."""
    for n, seed in enumerate((0, 1, 2, 0)):
        np.save(tmp_path / f"{n}.npy", voxels(seed))
    (tmp_path / "patch_index.csv").write_text("path,patient_id\n0.npy,A\n1.npy,B\n")
    (tmp_path / "bg_index.csv").write_text("path,patient_id\n2.npy,B\n3.npy,C\n")
    split = Split(train=("A",), val=("B",), test=("C",), rule="by hand")
    datamodule = PatchFolderDataModule(
        root=tmp_path,
        store=StoreSpec(spacing_mm=(1.0, 1.0, 1.0), lung_mask=False),
        crop=CropSize(vox=(4, 4, 4)),
        window=Window(range_hu=(-1000, 400), scale="unit"),
        sampling=NaturalSampling(),
        split=lambda _: split,
    )
    datamodule.setup()
    (group,) = leak_audit(datamodule)["equal_pixels"]
    assert [(scan["series_uid"], scan["patient_id"], scan["partition"]) for scan in group["scans"]] == [
        ("0.npy", "A", "train"), ("3.npy", "C", "test"),
    ]  # fmt: skip


def test_it_needs_a_split(collection: Path, open_data: Callable[..., Luna16DataModule]) -> None:
    datamodule = open_data()
    datamodule.score_points(pd.DataFrame())
    with pytest.raises(RunError, match=r"call setup\(\) first"):
        leak_audit(datamodule)
