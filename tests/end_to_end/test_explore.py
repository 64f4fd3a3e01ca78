"""`lungdet explore` of every kind of collection, on small generated data: with a store and without, damaged files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.end_to_end.conftest import SMALL, call
from tests.pages import assert_self_contained

from lungdet.store.image_store import ImageStore

pytestmark = pytest.mark.filterwarnings("default")

Command = Callable[..., None]


def explored(folder: Path) -> dict[str, Any]:
    """explore.json, after a look at the page."""
    assert_self_contained((folder / "explore.html").read_text())
    record: dict[str, Any] = json.loads((folder / "explore.json").read_text())
    return record


def codes(record: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in record["findings"]}


@pytest.fixture(scope="module")
def xrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kermany's folders: normal films with a dark frame and pneumonia without; one file twice, one damaged."""
    root = tmp_path_factory.mktemp("xrays")
    random = np.random.default_rng(0)
    names = {"NORMAL": "IM-{:04d}-0001.jpeg.png", "PNEUMONIA": "person{}_virus_1.png"}
    for label, name in names.items():
        for part, numbers in (("train", range(60)), ("test", range(55, 65))):
            folder = root / part / label
            folder.mkdir(parents=True)
            for n in numbers:
                film = random.integers(60, 200, (50, 60 if label == "NORMAL" else 50), dtype=np.uint8)
                if label == "NORMAL":
                    film[:, :6] = 0
                Image.fromarray(film).save(folder / name.format(n))
    (root / "test/NORMAL/copy.png").write_bytes((root / "train/PNEUMONIA/person3_virus_1.png").read_bytes())
    (root / "train/NORMAL/broken.png").write_bytes(b"\x89PNG")
    return root


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Kaggle's layout, twenty patches named by their SHA-1; the last one has changed since."""
    root = tmp_path_factory.mktemp("patches")
    (root / "train").mkdir()
    lines = ["id,label"]
    for n in range(20):
        patch = np.random.default_rng(n).integers(0, 256, (96, 96, 3), dtype=np.uint8)
        name = hashlib.sha1(patch.tobytes(), usedforsecurity=False).hexdigest()
        patch[0, 0] ^= np.uint8(n == 19)
        Image.fromarray(patch).save(root / "train" / f"{name}.tif")
        lines.append(f"{name},{n % 2}")
    (root / "train_labels.csv").write_text("\n".join(lines) + "\n")
    return root


def test_phantom(lungdet: Command, workplace: Path) -> None:
    lungdet("explore", *(word for word in SMALL if not word.startswith("split")), "n_samples=3", "n_scans=4")
    folder = workplace / "explorations" / "phantom"
    record = explored(folder)
    assert record["sizes"]["scans"] == 8
    assert record["intensities"]["scans_read"] == 4
    assert record["intensities"]["source"] == "stored scans"
    assert sum(record["classes"]["all"]["rows"].values()) == record["provenance"]["candidates_kept"]
    assert record["copies"]["groups"] == []
    written = {path.name for path in folder.iterdir()}
    assert {"samples-nodule.png", "samples-non-nodule.png", "hu.png", "sizes.png", "nodules.png"} <= written


def test_scans_without_a_store_or_candidates(lungdet: Command, workplace: Path, tmp_path: Path) -> None:
    """Day one: what was downloaded so far is looked at, and what is missing is said."""
    phantom, root = workplace / "cohorts" / "phantom", tmp_path / "luna"
    scans = sorted(phantom.glob("subset*/*.mhd"))
    for number, header in enumerate(scans[:3]):
        there = root / header.parent.name
        there.mkdir(parents=True, exist_ok=True)
        for file in header.parent.glob(f"{header.stem}.*"):
            (there / file.name).write_bytes(file.read_bytes() if number or file.suffix == ".mhd" else b"short")
    (root / "annotations.csv").write_bytes(next(phantom.rglob("annotations.csv")).read_bytes())
    lungdet("explore", "data=luna16", f"data.root={root}", f"data.store_path={tmp_path}/none.zarr", f"out={tmp_path}/o")
    record = explored(tmp_path / "o")
    assert {"no_store", "no_candidates", "unreadable"} <= codes(record)
    assert list(record["unreadable"]["failures"]) == [scans[0].stem]
    assert record["intensities"]["scans_read"] == 2
    assert record["intensities"]["source"] == "original files"
    assert not (tmp_path / "none.zarr").exists(), "looking makes no store"


def test_cubes(tmp_path: Path) -> None:
    lines = {"patch_index.csv": ["file,patient_id"], "bg_index.csv": ["file,patient_id"]}
    for n in range(24):
        cube = np.random.default_rng(n if n < 23 else 0).integers(-900, 100, (12, 14, 16)).astype(np.int16)
        np.save(tmp_path / f"{n}.npy", cube)
        lines["patch_index.csv" if n % 2 else "bg_index.csv"].append(f"{n}.npy,P{n // 2}")
    for name, text in lines.items():
        (tmp_path / name).write_text("\n".join(text) + "\n")
    call("explore", tmp_path, "data=patches", "data.root=.", "data.crop.vox=[12,12,12]", "n_samples=2")
    record = explored(tmp_path / "explorations" / "patches")
    assert record["classes"]["all"]["rows"] == {"non_nodule": 12, "nodule": 12}
    assert [sorted(group) for group in record["copies"]["groups"]] == [["0.npy", "23.npy"]]
    assert record["sizes"]["slices"]["p50"] == 12
    assert record["intensities"]["source"] == "cubes"
    assert "nodules" not in record, "cubes do not say how large their nodules are"


def test_chest_xrays_with_and_without_a_store(xrays: Path, tmp_path: Path) -> None:
    arguments = ("data=chest_xray", f"data.root={xrays}", "data.store_path=x.zarr", "n_samples=2",
                 "data.store.size_hw=[32,32]", "+data.store.dark_frame.keep_px=0", "n_preprocessing=2")  # fmt: skip
    call("explore", tmp_path, *arguments, "out=before")
    before = explored(tmp_path / "before")
    assert not (tmp_path / "x.zarr").exists(), "looking makes no store"
    assert before["intensities"]["source"] == "originals, preprocessed on the way"
    assert before["preprocessing"]["cut"]["normal"]["left"] == pytest.approx(70 / 71), "all but the copy"
    assert before["preprocessing"]["cut"]["pneumonia"]["cut"] == 0
    assert {"class_dependent_crop", "shortcut", "unreadable", "contradictions", "copies_across_parts"} <= codes(before)
    assert before["copies"]["groups"] == [["train/PNEUMONIA/person3_virus_1.png", "test/NORMAL/copy.png"]]
    assert list(before["unreadable"]["failures"]) == ["train/NORMAL/broken.png"]
    assert any("Found in the shipped test part" in finding["text"] for finding in before["findings"])

    with pytest.raises(SystemExit, match="2"):  # one image is damaged; the others are stored
        call("preprocess", tmp_path, *(word for word in arguments if not word.startswith("n_")), "workers=1")
    call("explore", tmp_path, *arguments, "out=after")
    after = explored(tmp_path / "after")
    store = ImageStore(tmp_path / "x.zarr")
    pixels = store.read(store.images["row"].to_numpy(np.int64)) / 255
    statistics = json.loads((tmp_path / "x.zarr" / "statistics.json").read_text())
    assert statistics["mean"] == pytest.approx([pixels.mean()], rel=0, abs=1e-9)
    assert statistics["std"] == pytest.approx([pixels.std()], rel=0, abs=1e-9)
    assert (statistics["n_images"], statistics["fingerprint"]) == (len(store), store.fingerprint)
    assert after["intensities"]["mean"] == before["intensities"]["mean"] == statistics["mean"], "the same pixels"
    assert after["intensities"]["source"] == "stored images"
    assert after["preprocessing"]["cut"] == before["preprocessing"]["cut"]


def test_patches_and_their_ids(patches: Path, tmp_path: Path) -> None:
    call("explore", tmp_path, "data=histopathology", f"data.root={patches}", "check_ids=true", "n_samples=2", "out=o")
    record = explored(tmp_path / "o")
    assert record["ids"]["checked"] == 20
    assert len(record["ids"]["wrong"]) == 1
    assert {"wrong_ids", "collection"} <= codes(record)
    assert record["intensities"]["channels"] == ["red", "green", "blue"]
    assert record["sizes"]["channels"] == {"RGB": 20}


def test_a_collection_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    for label in ("NORMAL", "PNEUMONIA"):
        (tmp_path / "in" / "train" / label).mkdir(parents=True)
        (tmp_path / "in" / "train" / label / "a.png").write_bytes(b"no picture")
    call("explore", tmp_path, "data=chest_xray", "data.root=in", "out=o")
    record = explored(tmp_path / "o")
    assert len(record["unreadable"]["failures"]) == 2
    assert record["intensities"]["mean"] == [None]


def test_mistakes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        call("explore", tmp_path, "data=chest_xray", "data.root=nowhere")
    assert "nowhere: no such folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        call("explore", tmp_path, "n_samples=0")
    assert "n_samples=0 must be at least 1" in capsys.readouterr().err


@pytest.mark.realdata
def test_real_patches(realdata: Path, tmp_path: Path) -> None:
    folder = realdata / "histopathologic-cancer-detection"
    call("explore", tmp_path, "data=histopathology", f"data.root={folder}", "check_ids=true", "n_samples=2", "out=o")
    record = explored(tmp_path / "o")
    assert record["classes"]["all"]["rows"] == {"normal": 1201, "tumor": 799}
    assert record["ids"] == {"checked": 2000, "wrong": {}}
    assert record["sizes"]["sizes"] == [{"height": 96, "width": 96, "channels": "RGB", "normal": 1201, "tumor": 799}]
    images = np.stack([np.asarray(Image.open(path)) for path in sorted((folder / "train").glob("*.tif"))]) / 255
    assert record["intensities"]["mean"] == pytest.approx(images.mean(axis=(0, 1, 2)), rel=0, abs=1e-9)
    assert record["intensities"]["std"] == pytest.approx(images.std(axis=(0, 1, 2)), rel=0, abs=1e-9)


@pytest.mark.realdata
def test_a_real_scan(realdata: Path, tmp_path: Path) -> None:
    call("explore", tmp_path, "data=luna16", f"data.root={realdata}/luna16", "out=o")
    record = explored(tmp_path / "o")
    assert record["nodules"]["nodules"] == 2
    assert record["sizes"]["slices"]["p50"] == 133
    assert record["intensities"]["near nodule"]["mean_hu"] < -500, "one of the two is a cavity"
    assert (tmp_path / "o" / "samples-nodule.png").is_file()
