"""The collection that `data=chest_xray` trains on: labels, patients and shipped parts of a folder of six files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungdet.data.chest_xray import ChestXrayDataModule
from lungdet.data.sampling import NaturalSampling
from lungdet.errors import MissingFileError
from lungdet.store.image_preprocess import ImageSpec

FILES = (
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person1_bacteria_2.jpeg",
    "val/NORMAL/IM-0116-0001.jpeg",
    "test/NORMAL/IM-0117-0001.jpeg",
    "test/PNEUMONIA/person1_bacteria_3.jpeg",
)


@pytest.fixture
def datamodule(tmp_path: Path) -> ChestXrayDataModule:
    for name in FILES:
        path = tmp_path / "xray" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    return made(tmp_path / "xray")


def made(root: Path) -> ChestXrayDataModule:
    return ChestXrayDataModule(
        root=root, store_path=root / "store.zarr", store=ImageSpec(size_hw=(8, 8)), sampling=NaturalSampling()
    )


def test_labels_patients_and_shipped_parts(datamodule: ChestXrayDataModule) -> None:
    collection = datamodule.read_collection()
    assert collection.classes == ("normal", "pneumonia")
    assert (collection.item, collection.items, collection.channels) == ("chest X-ray", "chest X-rays", 1)
    images = collection.images.set_index("image_id")
    assert sorted(images.index) == sorted(FILES)
    assert images.loc[list(FILES), "label"].tolist() == [0, 1, 1, 0, 0, 1]
    assert images.loc[list(FILES), "patient_id"].tolist() == [
        "IM-0115", "person1", "person1", "IM-0116", "IM-0117", "person1",
    ]  # fmt: skip
    assert images.loc[list(FILES), "partition"].tolist() == ["train", "train", "train", "val", "test", "test"]
    assert (images["row"] == -1).all(), "files of their own"


def test_what_is_wrong_with_the_shipped_parts_is_said(datamodule: ChestXrayDataModule) -> None:
    notes = datamodule.read_collection().notes
    assert any(
        note.startswith("The shipped val part holds 1 images (1 NORMAL, 0 PNEUMONIA): one class") for note in notes
    )
    assert any(
        "Found in the shipped test part (1 images) and in train too (2 images): 1 patient number" in n for n in notes
    )


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none: no such folder; give the one that holds train/NORMAL"):
        made(tmp_path / "none").read_collection()
