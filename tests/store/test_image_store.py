"""Images into the store and back: pixels, other libraries, interruption, failures, other settings."""

from __future__ import annotations

import dataclasses
import errno
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image
from tests.store.image_files import collection_of, write_pictures
from tests.store.interruption import killed_at

from lungdet.errors import MissingFileError, StoreError
from lungdet.io.pixel_duplicates import pixel_key
from lungdet.store import image_store, image_writer
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
    for module in (image_writer, image_store):
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


@pytest.mark.parametrize("begin", ["new", "finished"])
@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_anywhere_no_image_is_wrong_and_the_next_run_finishes(
    step: int, begin: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made from nothing, and made anew in the place of a finished one."""
    for module in (image_writer, image_store):
        monkeypatch.setattr(module, "CHUNK_IMAGES", 4)
    collection = collection_of(folder)
    store_images(collection, tmp_path / "whole", SPEC)
    wanted = ImageStore(tmp_path / "whole").read(np.arange(10))
    store = tmp_path / begin
    for change in range(0, 100, step):
        if begin == "finished":
            shutil.copytree(tmp_path / "whole", store)
        with killed_at(change) as killed:
            store_images(collection, store, SPEC, overwrite=begin == "finished")
        if is_finished(store, collection):
            np.testing.assert_array_equal(ImageStore(store).read(np.arange(10)), wanted)
        else:
            with pytest.raises((StoreError, MissingFileError)):
                ImageStore(store)
        store_images(collection, store, SPEC)
        np.testing.assert_array_equal(ImageStore(store).read(np.arange(10)), wanted)
        shutil.rmtree(store)
        if not killed:
            break
    assert change > 5
    assert not killed


def test_images_that_are_made_anew_are_read_anew(folder: Path, store_path: Path) -> None:
    store_images(collection_of(folder), store_path, SPEC)
    assert (ImageStore(store_path).image("003") != 77).any()
    Image.new("L", (24, 20), 77).save(folder / "003.png")
    store_images(collection_of(folder), store_path, SPEC, overwrite=True)
    assert (ImageStore(store_path).image("003") == 77).all()


def test_a_second_run_counts_what_the_first_stored_and_what_it_could_not(folder: Path, store_path: Path) -> None:
    (folder / "004.png").write_bytes(b"no picture")
    store_images(collection_of(folder), store_path, SPEC)
    again = store_images(collection_of(folder), store_path, SPEC)
    assert (again.n_stored, again.n_skipped, list(again.failed)) == (0, 9, ["004"])


def test_a_file_in_the_place_of_the_store_is_refused(folder: Path, store_path: Path) -> None:
    store_path.write_text("thesis")
    with pytest.raises(StoreError, match="is not a store of images"):
        store_images(collection_of(folder), store_path, SPEC)
    assert store_path.read_text() == "thesis"


def test_a_full_disk_is_told_and_the_next_run_goes_on(
    folder: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", full)
        with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\); make room"):
            store_images(collection_of(folder), store_path, SPEC)
    assert store_images(collection_of(folder), store_path, SPEC).n_stored == 10


def test_black_images_are_stored_and_a_lost_file_is_not_taken_for_them(tmp_path: Path, store_path: Path) -> None:
    (tmp_path / "black").mkdir()
    Image.new("L", (20, 20)).save(tmp_path / "black" / "000.png")
    store_images(collection_of(tmp_path / "black"), store_path, SPEC)
    assert (ImageStore(store_path).image("000") == 0).all()
    (store_path / "images/c/0/0/0/0").unlink()
    with pytest.raises(StoreError, match=r"c/0/0/0/0: cannot be read \(No such file or directory\)"):
        ImageStore(store_path).image("000")


def test_more_chunks_than_files_may_be_open(folder: Path, store_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (image_writer, image_store):
        monkeypatch.setattr(module, "CHUNK_IMAGES", 2)
    monkeypatch.setattr(image_store, "most_open", lambda: 2)
    store_images(collection_of(folder), store_path, SPEC)
    store = ImageStore(store_path)
    expected = np.asarray(zarr.open_array(store_path / "images", mode="r"))
    for _ in range(2):
        np.testing.assert_array_equal(store.read(np.arange(10)), expected)
    assert len(store._chunks) == 2
