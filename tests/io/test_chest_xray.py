"""Kermany's folders and manifests: labels, partitions and, from the names, patients."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungdet.errors import MissingFileError, TableError
from lungdet.io.chest_xray import identify, read_chest_xray, read_folders, read_manifest
from lungdet.io.image_collection import ImageCollection, write_manifest

Make = Callable[[Iterable[str]], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes tiny images and returns their root."""

    def write(names: Iterable[str]) -> Path:
        for n, name in enumerate(names):
            path = tmp_path / "xray" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), n, np.uint8)).save(path)
        return tmp_path / "xray"

    return write


@pytest.mark.parametrize(
    ("name", "patient", "rule", "agent"),
    [
        ("person23_bacteria_56.jpeg", "person23", "person", "bacteria"),
        ("PERSON23_Virus_7.JPEG", "person23", "person", "virus"),
        ("person447_virus_921_1.jpeg", "person447", "person", "virus"),
        ("person0012_bacteria_1 (copy).png", "person12", "person", "bacteria"),
        ("person12.png", "person12", "person", ""),
        ("person12-2.png", "person12", "person", ""),
        ("train/NORMAL/IM-0115-0001.jpeg", "IM-0115", "IM", ""),
        ("IM-0429-0001-0002.jpeg", "IM-0429", "IM", ""),
        ("im-429-0001.bmp", "IM-0429", "IM", ""),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115", "NORMAL2-IM", ""),
        ("NORMAL2-IM-1423-0001-0003.jpeg", "NORMAL2-IM-1423", "NORMAL2-IM", ""),
        ("a/personal_12.png", "personal_12", "file", ""),
        ("person12b.png", "person12b", "file", ""),
        ("IM-0115.png", "IM-0115", "file", ""),
        ("00000013_005.png", "00000013_005", "file", ""),
    ],
)
def test_patients_from_names(name: str, patient: str, rule: str, agent: str) -> None:
    identity = identify(name)
    assert (identity.patient_id, identity.rule, identity.agent) == (patient, rule, agent)


def test_folders_in_any_case_and_any_mix(make: Make) -> None:
    root = make(
        [
            "TEST/normal/IM-0001-0001.JPG",
            "Train/Pneumonia/person1_virus_2.jpeg",
            "Train/Pneumonia/person1_bacteria_1.png",
            "train/NORMAL/NORMAL2-IM-0001-0001.bmp",
            "train/NORMAL/IM-0001-0002.tif",
            "train/COVID/x.png",
            "extra/NORMAL/y.png",
        ]
    )
    images = read_chest_xray(root).images
    assert images["image_id"].tolist() == [
        "Train/Pneumonia/person1_bacteria_1.png",
        "Train/Pneumonia/person1_virus_2.jpeg",
        "train/NORMAL/IM-0001-0002.tif",
        "train/NORMAL/NORMAL2-IM-0001-0001.bmp",
        "TEST/normal/IM-0001-0001.JPG",
    ]
    assert images["partition"].tolist() == ["train"] * 4 + ["test"]
    assert images["is_pneumonia"].tolist() == [True, True, False, False, False]
    assert images["patient_id"].tolist() == ["person1", "person1", "IM-0001", "NORMAL2-IM-0001", "IM-0001"]
    assert images["agent"].tolist() == ["bacteria", "virus", "", "", ""]
    assert images["id_from"].tolist() == ["person", "person", "IM", "NORMAL2-IM", "IM"]
    assert all(Path(path).is_file() for path in images["path"])
    assert images["is_pneumonia"].dtype == bool


def test_classes_without_partitions(make: Make) -> None:
    root = make(["NORMAL/a.png", "PNEUMONIA/b.png"])
    images = read_folders(root).images
    assert images["partition"].tolist() == ["", ""]
    assert images["id_from"].tolist() == ["file", "file"]


def test_what_is_no_image_is_passed_over_and_said(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    root = make(["train/NORMAL/a.png"])
    for name in (".DS_Store", "._a.png", "notes.txt"):
        (root / "train" / "NORMAL" / name).write_text("")
    with caplog.at_level(logging.WARNING):
        assert len(read_folders(root).images) == 1
    assert "1 files are no images and are passed over: notes.txt" in caplog.text


def test_nothing_there(make: Make, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none: no such folder; give the one that holds train/NORMAL"):
        read_chest_xray(tmp_path / "none")
    root = make(["train/NORMAL/a.png"])
    with pytest.raises(MissingFileError, match=r"no images in any of .*did you mean .*xray\?"):
        read_chest_xray(root.parent)
    (root / "train" / "NORMAL" / "a.png").unlink()
    with pytest.raises(MissingFileError, match=r"no images in any of .*looked for \.jpg"):
        read_chest_xray(root)


def test_manifest(make: Make) -> None:
    root = make(["a/person3_virus_1.png", "b.png", "c.png"])
    absolute = root / "c.png"
    path = root / "manifest.CSV"
    path.write_text(
        f"Path;Label;Group;Partition\na\\person3_virus_1.png;Pneumonia;;\nb.png;0;p7;TEST\n{absolute};normal;p7;val\n"
    )
    images = read_chest_xray(path).images
    assert images["image_id"].tolist() == ["a/person3_virus_1.png", "b.png", str(absolute)]
    assert images["is_pneumonia"].tolist() == [True, False, False]
    assert images["patient_id"].tolist() == ["person3", "p7", "p7"]
    assert images["id_from"].tolist() == ["person", "group", "group"]
    assert images["partition"].tolist() == ["", "test", "val"]
    assert [Path(p).name for p in images["path"] if Path(p).is_file()] == ["person3_virus_1.png", "b.png", "c.png"]


def test_manifest_elsewhere_than_its_images(make: Make, tmp_path: Path) -> None:
    root = make(["a.png"])
    (tmp_path / "m.csv").write_text("path,label\na.png,1\n")
    assert read_manifest(tmp_path / "m.csv", root=root).images["patient_id"].tolist() == ["a"]
    with pytest.raises(MissingFileError, match=r"m\.csv: 1 of 1 images are not there: a\.png"):
        read_manifest(tmp_path / "m.csv")


def test_a_manifest_that_is_written_reads_the_same(make: Make, tmp_path: Path) -> None:
    images = read_folders(make(["test/NORMAL/IM-1-1.png", "train/PNEUMONIA/person3_virus_1.png"])).images
    table = images.assign(label=images["is_pneumonia"].astype(int), row=-1)
    collection = ImageCollection(("normal", "pneumonia"), "X-ray", "X-rays", 1, table)
    write_manifest(tmp_path / "m.csv", collection, images.rename(columns={"image_id": "series_uid"}))
    again = read_manifest(tmp_path / "m.csv").images
    assert again["path"].tolist() == images["path"].tolist()
    for column in ("is_pneumonia", "patient_id", "agent", "partition"):
        assert again[column].tolist() == images[column].tolist(), column


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nb.png,1\n", r"no column path; it has file, label"),
        ("path,label\nb.png,COVID\n", r"line 2: 'COVID' for label: allowed are NORMAL and PNEUMONIA, or 0 and 1"),
        ("path,label\nb.png,0\n\nb.png,1\n", r"line 4: 'b\.png' for path: listed twice"),
        ("path,label,partition\nb.png,0,holdout\n", r"line 2: 'holdout' for partition: allowed are train, val, test"),
        ("path,label\nb.png,\n", r"line 2: '' for label"),
    ],
)
def test_wrong_manifests(make: Make, text: str, message: str) -> None:
    path = make(["b.png"]) / "m.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=message):
        read_manifest(path)


@pytest.mark.realdata
def test_the_real_collection(realdata: Path) -> None:
    """Counts from the file names alone, by shell tools."""
    root = realdata / "chest_xray"
    if not root.is_dir():
        pytest.skip(f"no chest X-rays at {root}")
    images = read_chest_xray(root).images
    assert images["is_pneumonia"].value_counts().to_dict() == {True: 3875, False: 1341}
    assert images["agent"].value_counts().to_dict() == {"bacteria": 2530, "virus": 1345, "": 1341}
    assert images.groupby("id_from")["patient_id"].nunique().to_dict() == {"IM": 518, "NORMAL2-IM": 693, "person": 1635}
    assert set(images["partition"]) == {"train"}
