"""Images into the store and back: pixels, other libraries, interruption, failures, other settings."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image
from tests.store.image_files import collection_of, write_pictures

from lungdet.errors import MissingFileError, StoreError
from lungdet.io.pixel_duplicates import pixel_key
from lungdet.store import image_writer
from lungdet.store.image_preprocess import ImageSpec, preprocess_image
from lungdet.store.image_store import CHUNK_IMAGES, ImageStore
from lungdet.store.image_writer import is_finished, store_images

SPEC = ImageSpec(size_hw=(16, 16), dark_frame=None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_pictures(tmp_path / "pictures", 10)
    return tmp_path / "pictures"


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    return tmp_path / "store.zarr"


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_comes_back_as_preprocessing_makes_it(tmp_path: Path, store_path: Path, channels: int) -> None:
    write_pictures(tmp_path / "in", 5, channels=channels)  # type: ignore[arg-type]
    collection = collection_of(tmp_path / "in", channels=channels)  # type: ignore[arg-type]
    report = store_images(collection, store_path, SPEC)
    assert (report.n_stored, report.n_skipped, report.failed) == (5, 0, {})
    store = ImageStore(store_path, expect=SPEC, channels=channels)
    with collection.pixels() as pixels:
        for name in collection.images["image_id"]:
            original = pixels.read(name)
            np.testing.assert_array_equal(store.image(name), preprocess_image(original, SPEC).stored)
            row = store.images.set_index("image_id").loc[name]
            assert row["pixel_key"] == pixel_key(original)
            assert (row["height"], row["width"], row["bottom"], row["right"]) == (20, 24, 20, 24)


def test_any_zarr_library_reads_the_same(folder: Path, store_path: Path) -> None:
    store_images(collection_of(folder), store_path, SPEC)
    array = zarr.open_group(store_path, mode="r")["images"]
    store = ImageStore(store_path)
    rows = store.rows_of(["007", "000", "007"])
    assert array.shape == (10, 16, 16, 1)  # type: ignore[union-attr]
    np.testing.assert_array_equal(store.read(rows), np.asarray(array)[rows])


def test_a_store_survives_pickling(folder: Path, store_path: Path) -> None:
    store_images(collection_of(folder), store_path, SPEC)
    store = ImageStore(store_path)
    store.image("003")
    again = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(again.image("003"), store.image("003"))


def test_an_interrupted_call_goes_on(folder: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (image_writer, __import__("lungdet.store.image_store", fromlist=["x"])):
        monkeypatch.setattr(module, "CHUNK_IMAGES", 4)
    collection = collection_of(folder)
    work = image_writer._store_chunk

    def dies_at_the_second(number: str, *arguments: object) -> str | None:
        if number == "1":
            raise KeyboardInterrupt
        return work(number, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(image_writer, "_store_chunk", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        store_images(collection, store_path, SPEC)
    assert not is_finished(store_path, collection)
    with pytest.raises(StoreError, match="is not finished; type lungdet preprocess x"):
        ImageStore(store_path, command="lungdet preprocess x")
    monkeypatch.setattr(image_writer, "_store_chunk", work)
    seen: list[tuple[int, int]] = []
    report = store_images(collection, store_path, SPEC, progress=lambda done, total, _: seen.append((done, total)))
    assert (report.n_stored, report.n_skipped) == (6, 4)
    assert seen == [(8, 10), (10, 10)]
    assert is_finished(store_path, collection)
    assert len(ImageStore(store_path)) == 10
    assert (store_images(collection, store_path, SPEC).n_stored, len(list((store_path / "images/c").iterdir()))) == (
        0,
        3,
    )


def test_bad_files_are_collected_and_the_rest_is_stored(folder: Path, store_path: Path) -> None:
    (folder / "004.png").write_bytes(b"no picture")
    collection = collection_of(folder)
    report = store_images(collection, store_path, SPEC)
    assert list(report.failed) == ["004"]
    assert "004.png" in report.failed["004"]
    store = ImageStore(store_path)
    assert (len(store), list(store.failures), report.n_stored) == (9, ["004"], 9)
    with pytest.raises(StoreError, match="has no image '004'; it holds 9 images"):
        store.image("004")
    assert is_finished(store_path, collection)


def test_nothing_but_bad_files_is_an_error(tmp_path: Path, store_path: Path) -> None:
    (tmp_path / "000.png").write_bytes(b"no picture")
    with pytest.raises(StoreError, match="none of 1 images could be stored"):
        store_images(collection_of(tmp_path), store_path, SPEC)


def test_other_settings_other_images_and_other_folders_are_refused(folder: Path, store_path: Path) -> None:
    collection = collection_of(folder)
    store_images(collection, store_path, SPEC)
    larger = dataclasses.replace(SPEC, size_hw=(18, 18))
    for refuse in (lambda: ImageStore(store_path, expect=larger), lambda: store_images(collection, store_path, larger)):
        with pytest.raises(StoreError, match=r"size_hw: store \[16, 16\], asked \[18, 18\].*overwrite=true"):
            refuse()
    with pytest.raises(StoreError, match="channels: store 1, asked 3"):
        ImageStore(store_path, channels=3)
    Image.new("L", (20, 20)).save(folder / "010.png")
    with pytest.raises(StoreError, match="made of other images than the 11 of this collection"):
        store_images(collection_of(folder), store_path, SPEC)
    store_images(collection_of(folder), store_path, larger, overwrite=True)
    assert ImageStore(store_path, expect=larger).shape_hw == (18, 18)
    with pytest.raises(MissingFileError, match="no store at"):
        ImageStore(store_path / "nowhere")
    with pytest.raises(StoreError, match="is not a store of images"):
        store_images(collection, folder, SPEC, overwrite=True)  # would delete somebody's pictures
    assert (folder / "000.png").exists()


def test_a_truncated_chunk_is_noticed(folder: Path, store_path: Path) -> None:
    store_images(collection_of(folder), store_path, SPEC)
    chunk = store_path / "images/c/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(StoreError, match=f"bytes instead of {CHUNK_IMAGES * 256}"):
        ImageStore(store_path).image("000")


def test_two_processes_store_what_one_does(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_writer, "CHUNK_IMAGES", 256)
    write_pictures(folder, 300)  # two chunks
    collection = collection_of(folder)
    for workers in (1, 2):
        store_images(collection, tmp_path / f"{workers}.zarr", SPEC, workers=workers)
    one, two = (ImageStore(tmp_path / f"{workers}.zarr") for workers in (1, 2))
    rows = np.arange(300)
    np.testing.assert_array_equal(one.read(rows), two.read(rows))
    assert one.images.equals(two.images)
    markers = [json.loads((tmp_path / f"{n}.zarr/zarr.json").read_text()) for n in (1, 2)]
    assert markers[0] == markers[1]
