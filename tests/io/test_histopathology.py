"""Histopathology patches: both layouts, slides, ids that are hashes, and collections that do not fit together."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from PIL import Image

from lungdet.errors import MissingFileError, TableError
from lungdet.io.histopathology import check_sha1, read_histopathology, read_unlabelled_patches
from lungdet.io.pixel_duplicates import find_pixel_duplicates

PATCHES = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 3)).astype(np.uint8)
IDS = [hashlib.sha1(patch.tobytes()).hexdigest() for patch in PATCHES]


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    root = tmp_path / "kaggle"
    (root / "train").mkdir(parents=True)
    for name, patch in zip(IDS, PATCHES, strict=True):
        Image.fromarray(patch).save(root / "train" / f"{name}.tif")
    (root / "train_labels.csv").write_text("id,label\n" + "".join(f"{n},{i % 2}\n" for i, n in enumerate(IDS)))
    return root


def write_pcam(root: Path, word: str, rows: slice) -> None:
    root.mkdir(exist_ok=True)
    n = len(PATCHES[rows])
    with h5py.File(root / f"camelyonpatch_level_2_split_{word}_x.h5", "w") as file:
        file["x"] = PATCHES[rows]
    with h5py.File(root / f"camelyonpatch_level_2_split_{word}_y.h5", "w") as file:
        file["y"] = (np.arange(n, dtype=np.uint8) % 2).reshape(n, 1, 1, 1)


@pytest.fixture
def pcam(tmp_path: Path) -> Path:
    write_pcam(tmp_path / "pcam", "valid", slice(2, 4))
    write_pcam(tmp_path / "pcam", "train", slice(0, 3))
    return tmp_path / "pcam"


def test_kaggles_layout(kaggle: Path) -> None:
    collection = read_histopathology(kaggle)
    patches = collection.patches
    assert patches["patch_id"].tolist() == IDS
    assert patches["is_tumor"].tolist() == [False, True, False, True]
    assert set(patches["partition"]) == set(patches["slide_id"]) == {""}
    assert collection.is_labelled
    with collection.pixels() as pixels:
        for name, patch in zip(IDS, PATCHES, strict=True):
            np.testing.assert_array_equal(pixels.read(name), patch)


def test_ids_are_compared_with_the_pixels(kaggle: Path) -> None:
    collection = read_histopathology(kaggle)
    assert check_sha1(collection) == {}
    changed = PATCHES[1].copy()
    changed[0, 0, 0] ^= 1
    Image.fromarray(changed).save(kaggle / "train" / f"{IDS[1]}.tif")
    (kaggle / "train" / f"{IDS[2]}.tif").write_text("damaged")
    wrong = check_sha1(collection)
    assert list(wrong) == [IDS[1], IDS[2]]
    assert wrong[IDS[1]] == f"the pixels have the SHA-1 {hashlib.sha1(changed.tobytes()).hexdigest()}"
    assert "not a readable image" in wrong[IDS[2]]


def test_pcams_files(pcam: Path) -> None:
    collection = read_histopathology(pcam)
    patches = collection.patches
    names = ["train-000000", "train-000001", "train-000002", "valid-000000", "valid-000001"]
    assert patches["patch_id"].tolist() == names
    assert patches["partition"].tolist() == ["train"] * 3 + ["val"] * 2
    assert patches["is_tumor"].tolist() == [False, True, False, False, True]
    with collection.pixels() as pixels:
        np.testing.assert_array_equal(pixels.read("train-000001"), PATCHES[1])
        np.testing.assert_array_equal(pixels.read("valid-000001"), PATCHES[3])
        found = find_pixel_duplicates(names, pixels.read)
    assert found.groups == [("train-000002", "valid-000000")]
    with pytest.raises(TableError, match="row numbers, no SHA-1 ids"):
        check_sha1(collection)


def test_slides_of_pcams_meta_files(pcam: Path) -> None:
    meta = pcam / "camelyonpatch_level_2_split_train_meta.csv"
    meta.write_text(",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi\n" + "".join(
        f"{n},1,2,True,True,camelyon16_train_tumor_{n // 2:03d}\n" for n in range(3)))  # fmt: skip
    collection = read_histopathology(pcam)
    assert collection.patches["slide_id"].tolist() == [
        "camelyon16_train_tumor_000", "camelyon16_train_tumor_000", "camelyon16_train_tumor_001", "", ""
    ]  # fmt: skip
    assert collection.slide_remark.startswith("The slide of 2 of 5 patches is unknown: patches of one slide may strad")
    meta.write_text("wsi\na\n")
    with pytest.raises(TableError, match=r"train_meta\.csv: 1 rows for 3 patches"):
        read_histopathology(pcam)


def test_slide_table(kaggle: Path, tmp_path: Path) -> None:
    assert "The slide of 4 of 4 patches is unknown" in read_histopathology(kaggle).slide_remark
    table = tmp_path / "slides.csv"
    rows = [f"{name},s{n // 3}" for n, name in enumerate(IDS)]
    table.write_text("\n".join(["id,wsi", *reversed(rows), rows[0], "other,s9"]))
    collection = read_histopathology(kaggle, slides=table)
    assert collection.patches["slide_id"].tolist() == ["s0", "s0", "s0", "s1"]
    assert collection.slide_remark == ""
    table.write_text("\n".join(["id,wsi", *rows[1:]]))
    with pytest.raises(TableError, match=rf"slides\.csv: no slide for 1 of 4 patches: {IDS[0]}"):
        read_histopathology(kaggle, slides=table)
    table.write_text("\n".join(["id,slide_id", *rows, rows[0], f"{IDS[0]},s7"]))
    with pytest.raises(TableError, match=rf"line 7: '{IDS[0]}' for id: an earlier line gives it another slide"):
        read_histopathology(kaggle, slides=table)


def test_unlabelled_folder(kaggle: Path) -> None:
    collection = read_unlabelled_patches(kaggle / "train")
    assert collection.patches["patch_id"].tolist() == sorted(IDS)
    assert not collection.is_labelled
    assert set(collection.patches["partition"]) == {"test"}
    assert check_sha1(collection) == {}
    Image.fromarray(PATCHES[0]).save(kaggle / "train" / f"{IDS[0]}.png")
    with pytest.raises(TableError, match=r"has the same id; leave one of the two"):
        read_unlabelled_patches(kaggle / "train")
    (kaggle / "empty").mkdir()
    with pytest.raises(MissingFileError, match="no image files there"):
        read_unlabelled_patches(kaggle / "empty")
    with pytest.raises(MissingFileError, match="no such folder of patches"):
        read_unlabelled_patches(kaggle / "test")


def test_labels_and_images_that_do_not_fit_together(kaggle: Path) -> None:
    labels = kaggle / "train_labels.csv"
    text = labels.read_text()
    labels.write_text(f"{text}more,1\n")
    with pytest.raises(TableError, match=r"1 labels without an image in train/: more\. Both must name the same"):
        read_histopathology(kaggle)
    labels.write_text(text.replace(f"{IDS[3]},1\n", ""))
    with pytest.raises(TableError, match=rf"1 images in train/ without a label in train_labels\.csv: {IDS[3]}"):
        read_histopathology(kaggle)
    labels.write_text(text + f"{IDS[0]},0\n")
    with pytest.raises(TableError, match=r"line 6: '\w+' for id: listed twice"):
        read_histopathology(kaggle)
    labels.write_text(text.replace(f"{IDS[3]},1", f"{IDS[3]},2"))
    with pytest.raises(TableError, match=r"line 5: '2' for label: allowed are 0 and 1"):
        read_histopathology(kaggle)


def test_files_of_pcam_that_are_missing_or_do_not_fit(pcam: Path, tmp_path: Path) -> None:
    labels = pcam / "camelyonpatch_level_2_split_valid_y.h5"
    labels.rename(pcam / "camelyonpatch_level_2_split_valid_y.h5.gz")
    with pytest.raises(MissingFileError, match=r"valid_y\.h5: no such file; unpack it: gunzip .*valid_y\.h5\.gz"):
        read_histopathology(pcam)
    (pcam / "camelyonpatch_level_2_split_valid_y.h5.gz").unlink()
    with pytest.raises(MissingFileError, match=r"images \(x\) and labels \(y\) belong together"):
        read_histopathology(pcam)
    with h5py.File(labels, "w") as file:
        file["y"] = np.zeros(3)
    with pytest.raises(TableError, match=r"valid_x\.h5: 2 patches, but 3 labels in camelyonpatch.*valid_y\.h5"):
        read_histopathology(pcam)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match=r"neither train_labels\.csv \(Kaggle\) nor camelyonpatch"):
        read_histopathology(tmp_path / "empty")
    with pytest.raises(MissingFileError, match="no such folder"):
        read_histopathology(tmp_path / "none")


@pytest.mark.realdata
def test_the_real_patches(realdata: Path) -> None:
    root = realdata / "histopathologic-cancer-detection"
    if not root.is_dir():
        pytest.skip(f"no patches at {root}")
    collection = read_histopathology(root)
    assert len(collection.patches) == 2000
    assert collection.patches["is_tumor"].sum() == 799
    assert check_sha1(collection) == {}
    with collection.pixels() as pixels:
        assert pixels.read(collection.patches["patch_id"][0]).shape == (96, 96, 3)
