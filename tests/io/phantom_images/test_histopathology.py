from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lungdet.io.histopathology import check_sha1, read_histopathology, read_unlabelled_patches
from lungdet.io.image_file import read_image
from lungdet.io.phantom_images import HistopathologyPhantomSpec, write_histopathology_phantom

SPEC = HistopathologyPhantomSpec(n_images=160, seed=4, n_slides=8, n_unlabelled=5)
MIDDLE = np.s_[32:64, 32:64]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "histopathology"
    assert write_histopathology_phantom(root, SPEC)
    return root


@pytest.fixture(scope="module")
def patches(folder: Path) -> pd.DataFrame:
    return read_histopathology(folder, slides=folder / "slides.csv").patches


@pytest.fixture(scope="module")
def pixels(patches: pd.DataFrame) -> list[npt.NDArray[np.uint8]]:
    return [read_image(path) for path in patches["path"]]


def test_the_reader_finds_every_patch_its_label_and_its_slide(folder: Path, patches: pd.DataFrame) -> None:
    assert len(patches) == 160
    assert patches["is_tumor"].sum() == 64
    assert patches["slide_id"].value_counts().to_list() == [20] * 8
    assert patches.groupby("slide_id")["is_tumor"].agg(["min", "max"]).to_numpy().tolist() == [[False, True]] * 8
    assert check_sha1(read_histopathology(folder)) == {}
    assert len(read_unlabelled_patches(folder / "test").patches) == 5


def test_patches_are_as_large_as_the_real_ones(pixels: list[npt.NDArray[np.uint8]]) -> None:
    assert {image.shape for image in pixels} == {(96, 96, 3)}


def test_the_label_is_about_the_middle(folder: Path, patches: pd.DataFrame) -> None:
    outside = 0
    for row in patches.itertuples():
        path = folder / "masks" / f"{row.patch_id}.png"
        lesion = read_image(path) > 0 if path.is_file() else np.zeros((96, 96), bool)
        assert lesion[MIDDLE].any() == row.is_tumor
        outside += path.is_file() and not row.is_tumor
    assert outside >= 5  # tumour that does not count


def test_colours_differ_more_between_slides_than_within(
    patches: pd.DataFrame, pixels: list[npt.NDArray[np.uint8]]
) -> None:
    blue_to_red = pd.Series(
        [np.log(image[..., 2] + 1.0).mean() - np.log(image[..., 0] + 1.0).mean() for image in pixels]
    )
    by_slide = blue_to_red.groupby(patches["slide_id"].to_numpy())
    between = by_slide.mean().var()
    assert 20 * between / by_slide.var().mean() > 3  # F statistic of 20 patches a slide


def test_mean_colours_do_not_tell_the_classes_but_large_nuclei_do(
    patches: pd.DataFrame, pixels: list[npt.NDArray[np.uint8]]
) -> None:
    label = patches["is_tumor"].to_numpy()
    for channel in range(3):
        assert 0.25 < roc_auc_score(label, [image[..., channel].mean() for image in pixels]) < 0.75
    assert roc_auc_score(label, [large_nuclei(image) for image in pixels]) > 0.9


def large_nuclei(image: npt.NDArray[np.uint8]) -> float:
    """Density in the middle that an opening by a disc of 13 pixels leaves: nothing of a lymphocyte."""
    density = -np.log((image[..., 0].astype(np.float32) + 1) / 245)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
    opened = cv2.morphologyEx(density, cv2.MORPH_OPEN, disc)
    return float(opened[MIDDLE].mean() / np.percentile(density, 90))


def test_the_same_spec_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    def written(name: str, seed: int) -> dict[str, bytes]:
        spec = HistopathologyPhantomSpec(n_images=20, seed=seed, n_unlabelled=2)
        write_histopathology_phantom(tmp_path / name, spec)
        return {
            str(p.relative_to(tmp_path / name)): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()
        }

    first = written("a", 1)
    assert written("b", 1) == first
    assert not {name for name in written("c", 2) if name.endswith(".tif")} & set(first)


@pytest.mark.parametrize("n_slides", [6, 20])
def test_pcam_files_are_read_back(tmp_path: Path, n_slides: int) -> None:
    spec = HistopathologyPhantomSpec(n_images=60, n_slides=n_slides, layout="pcam")
    write_histopathology_phantom(tmp_path / "pcam", spec)
    collection = read_histopathology(tmp_path / "pcam")
    patches = collection.patches
    assert len(patches) == 60
    assert set(patches["partition"]) == {"train", "val", "test"}
    assert patches["is_tumor"].sum() == 24
    assert patches["slide_id"].nunique() == n_slides
    assert patches.groupby("slide_id")["partition"].nunique().max() == 1
    with collection.pixels() as reader, h5py.File(tmp_path / "pcam/masks/valid.h5") as masks:
        val = patches[patches["partition"] == "val"]
        assert reader.read(val["patch_id"].iloc[0]).shape == (96, 96, 3)
        assert masks["mask"][:, 32:64, 32:64].any(axis=(1, 2)).tolist() == val["is_tumor"].to_list()


def test_a_patch_of_the_two_layouts_is_the_same(tmp_path: Path) -> None:
    kaggle = HistopathologyPhantomSpec(n_images=20, n_slides=6)
    pcam = HistopathologyPhantomSpec(n_images=20, n_slides=6, layout="pcam")
    write_histopathology_phantom(tmp_path / "kaggle", kaggle)
    write_histopathology_phantom(tmp_path / "pcam", pcam)
    collection = read_histopathology(tmp_path / "pcam")
    with collection.pixels() as reader:
        digests = {
            hashlib.sha1(reader.read(name).tobytes(), usedforsecurity=False).hexdigest()
            for name in collection.patches["patch_id"]
        }
    assert digests == set(read_histopathology(tmp_path / "kaggle").patches["patch_id"])
