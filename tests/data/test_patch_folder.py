"""`data=patches`: cubes as candidates, split by patient, the crop cut from their middle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungdet.data.intensity import Window
from lungdet.data.nodules import NoduleSamples
from lungdet.data.patch_folder import PatchFolderDataModule
from lungdet.data.sampling import NaturalSampling
from lungdet.data.splits import GroupedKFold, Holdout
from lungdet.errors import ConfigError
from lungdet.store.schema import CropSize, StoreSpec

Make = Callable[..., PatchFolderDataModule]
N = 60


@pytest.fixture
def cubes(tmp_path: Path) -> Path:
    """Sixty cubes of twelve patients, a third of them positive; every voxel of cube n is n HU."""
    lines: dict[str, list[str]] = {"patch_index.csv": ["path,patient_id"], "bg_index.csv": ["path,patient_id"]}
    for n in range(N):
        np.save(tmp_path / f"{n:02d}.npy", np.full((10, 11, 12), n, np.int16))
        lines["patch_index.csv" if n % 3 == 0 else "bg_index.csv"].append(f"{n:02d}.npy,P{n % 12:02d}")
    for name, text in lines.items():
        (tmp_path / name).write_text("\n".join(text) + "\n")
    return tmp_path


@pytest.fixture
def make(cubes: Path) -> Make:
    def build(**changed: Any) -> PatchFolderDataModule:
        settings: dict[str, Any] = {
            "root": cubes,
            "store": StoreSpec(),
            "crop": CropSize(vox=(8, 8, 8)),
            "window": Window(range_hu=(-1000, 1000), scale="hu"),
            "sampling": NaturalSampling(),
            "split": Holdout(val_fraction=0.25, test_fraction=0.25),
            "batch_size": 4,
        }
        return PatchFolderDataModule(**(settings | changed))

    return build


def test_records_and_batches(make: Make) -> None:
    datamodule = make()
    assert datamodule.store_problems() == []
    datamodule.prepare_data()
    datamodule.setup()
    records = datamodule.records
    assert len(records) == N
    number = records["series_uid"].str.slice(0, 2).astype(int)
    assert (records["label"] == (number % 3 == 0)).all()
    assert (records["patient_id"] == "P" + (number % 12).astype(str).str.zfill(2)).all()
    assert records.groupby("patient_id")["partition"].nunique().max() == 1
    assert set(records["partition"]) == {"train", "val", "test"}
    assert not datamodule.split_result.notes
    seen: dict[int, int] = {}
    for loader in (datamodule.train_dataloader(), datamodule.val_dataloader(), datamodule.test_dataloader()):
        for batch in loader:
            assert batch["hu"].shape[1:] == (1, 8, 8, 8)
            for cube, label, row in zip(batch["hu"], batch["label"], batch["index"], strict=True):
                assert cube.unique().tolist() == [number[int(row)]]
                seen[int(row)] = int(label)
    assert seen == dict(enumerate(records["label"]))
    hu, spacing, _ = datamodule.load_crop(records.iloc[5])
    assert np.unique(hu).tolist() == [number[5]]
    assert list(spacing) == [1, 1, 1]
    assert sum(datamodule.train_class_counts) == (records["partition"] == "train").sum()


def test_without_patients_the_split_says_so(make: Make, cubes: Path) -> None:
    for name in ("patch_index.csv", "bg_index.csv"):
        lines = (cubes / name).read_text().splitlines()
        (cubes / name).write_text("\n".join(line.partition(",")[0] for line in lines) + "\n")
    datamodule = make(split=GroupedKFold(n_folds=3))
    datamodule.setup()
    (note,) = datamodule.split_result.notes
    assert note.startswith("60 of 60 cubes do not say whose they are")
    assert datamodule.records["patient_id"].nunique() == N
    datamodule.setup("predict")
    assert datamodule.split_result.notes == (note,)


def test_refusals(make: Make, cubes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds labelled cubes, not what NoduleSamples needs"):
        make(samples=NoduleSamples())
    with pytest.raises(ConfigError, match=r"unit_range_hu=\[400, -1000\]"):
        make(unit_range_hu=(400, -1000))
    (problem,) = make(crop=CropSize(vox=(8, 12, 8))).store_problems()
    assert problem == "data.crop is [8,12,8] voxels, the cubes are [10,11,12]; type data.crop.vox=[10,11,12]"
    (problem,) = make(root=tmp_path / "nowhere").store_problems()
    assert "no patch_index.csv there" in problem
    with pytest.raises(ConfigError, match="needs no preprocessing"):
        make().scan_paths()
    (problem,) = make(values="unit").store_problems()
    assert "so they hold HU" in problem
