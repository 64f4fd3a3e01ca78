"""Pixel hashes: which scans share one, where they come from, and that a folder of cubes is hashed once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from lungdet.errors import StoreError
from lungdet.geometry import Geometry
from lungdet.io.patch_folder import read_patch_folder
from lungdet.store.patch_store import PatchStore
from lungdet.store.pixel_hash import FILE_NAME, RememberedHashes, pixel_hash
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

SPEC = StoreSpec(lung_mask=False)


def by_hand(voxels: npt.NDArray[np.int16]) -> str:
    """As the documentation says it: shape, colon, hash of the little-endian voxels."""
    shape = ",".join(map(str, voxels.shape))
    return hashlib.sha256(f"{shape}:{hashlib.sha256(voxels.astype('<i2').tobytes()).hexdigest()}".encode()).hexdigest()


def test_the_store_gives_the_hash_of_its_voxels_without_reading_them(make_store: Callable[..., Path]) -> None:
    store = CtStore(make_store())
    hashes = store.pixel_hashes(store.series_uids)
    assert len(store._arrays) == 0, "metadata only"
    assert hashes == {uid: by_hand(store.volume(uid)) for uid in store.series_uids}
    with pytest.raises(StoreError, match=r"no series '1\.2\.9'"):
        store.pixel_hashes(["1.2.9"])


def test_a_copy_has_the_same_hash_whatever_it_is_called_and_one_voxel_makes_another(tmp_path: Path) -> None:
    hu = np.random.default_rng(0).integers(-1000, 400, (20, 24, 28)).astype(np.int16)
    touched = hu.copy()
    touched[10, 12, 14] += 300
    flipped = (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)
    scans = {
        "original": (hu, Geometry(hu.shape, (0.0, 0.0, 0.0), (0.8, 0.7, 1.5))),
        "copy": (hu, Geometry(hu.shape, (-120.3, 55.1, 7.7), (0.8, 0.7, 1.5))),
        "flipped header": (hu, Geometry(hu.shape, (9.0, 9.0, 9.0), (0.8, 0.7, 1.5), flipped)),
        "one voxel": (touched, Geometry(hu.shape, (0.0, 0.0, 0.0), (0.8, 0.7, 1.5))),
        "other spacing": (hu, Geometry(hu.shape, (0.0, 0.0, 0.0), (0.8, 0.7, 2.5))),
    }
    paths = {}
    for name, (voxels, geometry) in scans.items():
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(geometry.spacing_xyz_mm)
        image.SetOrigin(geometry.origin_xyz_mm)
        image.SetDirection(geometry.direction)
        paths[name] = tmp_path / f"{name}.mha"
        sitk.WriteImage(image, str(paths[name]))
    assert not preprocess(paths, tmp_path / "store", SPEC).failed
    hashes = CtStore(tmp_path / "store").pixel_hashes(list(scans))
    same = {name for name, value in hashes.items() if value == hashes["original"]}
    assert same == {"original", "copy", "flipped header"}


def test_the_shape_enters() -> None:
    assert pixel_hash("a", (2, 3, 4)) != pixel_hash("a", (3, 2, 4))
    assert pixel_hash("a", (2, 3, 4)) != pixel_hash("b", (2, 3, 4))


@pytest.fixture
def cubes(tmp_path: Path) -> Path:
    """Three cubes; the last is a copy of the first."""
    hu = np.random.default_rng(1).integers(-900, 300, (3, 5, 6, 7)).astype(np.int16)
    for n, cube in enumerate((hu[0], hu[1], hu[0])):
        np.save(tmp_path / f"{n}.npy", cube)
    (tmp_path / "patch_index.csv").write_text("path\n0.npy\n1.npy\n")
    (tmp_path / "bg_index.csv").write_text("path\n2.npy\n")
    return tmp_path


def open_cubes(folder: Path, spec: StoreSpec = StoreSpec(spacing_mm=(1.0, 1.0, 1.0))) -> PatchStore:  # noqa: B008
    return PatchStore(read_patch_folder(folder), spec=spec, values=None, unit_range_hu=(-1000.0, 400.0))


def test_cubes_are_hashed_once_and_again_when_they_change(cubes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_cubes(cubes)
    first = store.pixel_hashes(store.series_uids)
    assert first["0.npy"] == first["2.npy"] != first["1.npy"]
    assert first == {uid: by_hand(store.volume(uid)) for uid in store.series_uids}
    assert [p.name for p in cubes.glob(f"{FILE_NAME}*")] == [FILE_NAME], "nothing half-written is left"

    read: list[str] = []
    whole = PatchStore.content_hash

    def watched(self: PatchStore, uid: str) -> str:
        read.append(uid)
        return whole(self, uid)

    monkeypatch.setattr(PatchStore, "content_hash", watched)
    assert open_cubes(cubes).pixel_hashes(store.series_uids) == first
    assert read == []
    np.save(cubes / "1.npy", np.load(cubes / "0.npy"))
    os.utime(cubes / "1.npy", ns=(0, 0))
    assert open_cubes(cubes).pixel_hashes(store.series_uids)["1.npy"] == first["0.npy"]
    assert read == ["1.npy"]

    narrow = StoreSpec(spacing_mm=(1.0, 1.0, 1.0), clip_hu=(-500, 0))
    clipped = open_cubes(cubes, narrow)
    assert clipped.pixel_hashes(["0.npy"]) == {"0.npy": by_hand(clipped.volume("0.npy"))}, (
        "other settings, other voxels"
    )


@pytest.mark.parametrize("damage", ["", "[]", '{"format_version": 99}', '{"format_version": 1, "settings": {}}'])
def test_a_damaged_side_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / FILE_NAME).write_text(damage)
    remembered = RememberedHashes(tmp_path / FILE_NAME, settings={"shape": (1, 2)})
    assert remembered.of({"a": tmp_path / "a"}, lambda name: f"hash of {name}") == {"a": "hash of a"}
    record = json.loads((tmp_path / FILE_NAME).read_text())
    assert record["settings"] == {"shape": [1, 2]}
    assert record["files"]["a"][2] == "hash of a"
    assert remembered.of({"a": tmp_path / "a"}, lambda name: pytest.fail(f"{name} is known")) == {"a": "hash of a"}


def test_a_folder_that_cannot_be_written_to_is_hashed_each_time(cubes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(Path, "write_text", refused)
    store = open_cubes(cubes)
    assert store.pixel_hashes(["0.npy"]) == store.pixel_hashes(["0.npy"])
    assert not (cubes / FILE_NAME).exists()


def test_a_cube_that_is_gone(cubes: Path) -> None:
    store = open_cubes(cubes)
    (cubes / "1.npy").unlink()
    with pytest.raises(StoreError, match=r"a cube is gone since the folder was read .*1\.npy"):
        store.pixel_hashes(store.series_uids)
