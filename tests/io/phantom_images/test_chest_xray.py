from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from lungdet.errors import StoreError
from lungdet.io.chest_xray import read_chest_xray
from lungdet.io.image_file import read_image
from lungdet.io.phantom_images import ChestXrayPhantomSpec, write_chest_xray_phantom
from lungdet.io.pixel_duplicates import find_pixel_duplicates
from lungdet.io.shipped_split import shipped_split

SPEC = ChestXrayPhantomSpec(n_images=160, seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "chest_xray"
    assert write_chest_xray_phantom(root, SPEC)
    return root


@pytest.fixture(scope="module")
def images(folder: Path) -> pd.DataFrame:
    return read_chest_xray(folder).images


@pytest.fixture(scope="module")
def pixels(images: pd.DataFrame) -> list[npt.NDArray[np.uint8]]:
    return [read_image(path, channels=1) for path in images["path"]]


def digests(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()
    }


def test_the_reader_finds_every_image_and_its_patient(images: pd.DataFrame) -> None:
    assert len(images) == 160
    assert images["is_pneumonia"].sum() == 96
    assert (images["id_from"] != "file").all()
    assert set(images.loc[images["is_pneumonia"], "agent"]) == {"bacteria", "virus"}
    assert set(images.loc[~images["is_pneumonia"], "id_from"]) == {"IM", "NORMAL2-IM"}
    per_patient = images.groupby("patient_id").size()
    assert per_patient.max() >= 3
    assert images.groupby("patient_id")["is_pneumonia"].nunique().max() == 1


def test_the_shipped_split_has_the_faults_of_the_real_one(images: pd.DataFrame) -> None:
    assert images["partition"].value_counts()["val"] == 4
    shipped = shipped_split(images)
    shared = shipped.shared
    assert (((shared["train"] > 0) & (shared["test"] > 0)).sum()) >= 2
    assert any("and in train too" in remark for remark in shipped.remarks)


def test_two_patients_have_one_pixel_identical_image(images: pd.DataFrame, pixels: list[npt.NDArray[np.uint8]]) -> None:
    by_name = dict(zip(images["image_id"], pixels, strict=True))
    (twins,) = find_pixel_duplicates(by_name, by_name.__getitem__).groups
    patients = images.set_index("image_id")["patient_id"]
    assert len({patients[name] for name in twins}) == len(twins) == 2


def test_sizes_modes_and_frames_vary(images: pd.DataFrame, pixels: list[npt.NDArray[np.uint8]]) -> None:
    assert len({image.shape for image in pixels}) > 100
    in_colour = np.mean([read_image(path).ndim == 3 for path in images["path"]])
    assert 0 < in_colour < 0.1
    # A whole line of at most JPEG's ringing beside black: nothing but a frame is that dark.
    edges = [image[0].max() < 30 or image[-1].max() < 30 or image[:, 0].max() < 30 for image in pixels]
    assert 0.05 < float(np.mean(edges)) < 0.5


def test_masks_lie_where_the_lesion_is(folder: Path, images: pd.DataFrame) -> None:
    for row in images.itertuples():
        mask = (folder / "masks" / str(row.image_id)).with_suffix(".png")
        assert mask.is_file() == row.is_pneumonia
        if row.is_pneumonia:
            lesion = read_image(mask) > 0
            assert lesion.shape == read_image(str(row.path), channels=1).shape
            assert 0.002 < lesion.mean() < 0.3


def test_a_consolidation_is_brighter_than_the_other_lung(folder: Path, images: pd.DataFrame) -> None:
    """Mirrored about the middle of the image, the mask falls on the other lung."""
    brighter = []
    for row in images[images["agent"] == "bacteria"].itertuples():
        image = read_image(str(row.path), channels=1)
        lesion = read_image((folder / "masks" / str(row.image_id)).with_suffix(".png")) > 0
        brighter.append(image[lesion].mean() > image[lesion[:, ::-1]].mean())
    assert np.mean(brighter) > 0.8


def test_mean_grey_does_not_tell_the_classes_but_the_lungs_do(
    images: pd.DataFrame, pixels: list[npt.NDArray[np.uint8]]
) -> None:
    label = images["is_pneumonia"].to_numpy()
    grey = roc_auc_score(label, [image.mean() for image in pixels])
    assert 0.2 < grey < 0.8
    scores, unseen = lung_scores(pixels, label)
    assert roc_auc_score(label[unseen], scores[unseen]) > 0.9


def lung_scores(
    pixels: list[npt.NDArray[np.uint8]], label: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """How far the brightest spots of the lung fields stand out from normal images, half of which set the standard."""
    flat = np.stack([standardised(image) for image in pixels])
    unseen = np.arange(len(label)) % 2 == 1
    normal = flat[~unseen & ~label]
    typical, spread = np.median(normal, axis=0), normal.std(axis=0) + 8
    zone = np.zeros(typical.shape, dtype=bool)
    zone[10:34, 12:26] = zone[10:34, 38:52] = True
    lungs = zone & (typical < np.median(typical))
    deviations = ((flat - typical) / spread)[:, lungs]
    return np.sort(deviations, axis=1)[:, -8:].mean(axis=1), unseen


def standardised(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Frame off, one size, grey levels equalised, smoothed."""
    rows, columns = np.nonzero(image.mean(axis=1) > 12)[0], np.nonzero(image.mean(axis=0) > 12)[0]
    inside = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    level = cv2.equalizeHist(cv2.resize(inside, (64, 48), interpolation=cv2.INTER_AREA))
    return np.asarray(cv2.GaussianBlur(level.astype(np.float32), (0, 0), 1.5))


def test_the_same_spec_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    small = ChestXrayPhantomSpec(n_images=20, seed=7, size_hw=(48, 64))
    write_chest_xray_phantom(tmp_path / "a", small)
    write_chest_xray_phantom(tmp_path / "b", small)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    write_chest_xray_phantom(tmp_path / "c", ChestXrayPhantomSpec(n_images=20, seed=8, size_hw=(48, 64)))
    other = digests(tmp_path / "c")
    jpegs = {name: digest for name, digest in digests(tmp_path / "a").items() if name.endswith(".jpeg")}
    assert not set(jpegs.values()) & set(other.values())


def test_a_folder_is_filled_once_and_never_mixed(tmp_path: Path) -> None:
    small = ChestXrayPhantomSpec(n_images=20, size_hw=(48, 64))
    folder = tmp_path / "new" / "x"
    assert write_chest_xray_phantom(folder, small)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert not write_chest_xray_phantom(folder, small)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(StoreError, match="n_images is 20, not 21"):
        write_chest_xray_phantom(folder, ChestXrayPhantomSpec(n_images=21, size_hw=(48, 64)))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x"]


def test_files_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"sea")
    with pytest.raises(StoreError, match="no phantom collection"):
        write_chest_xray_phantom(tmp_path, ChestXrayPhantomSpec())
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
