"""Where originals are read from, and which store counts; whole explorations run in `end_to_end/test_explore`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.store.image_files import collection_of, write_pictures

from lungdet.cli.explore_images import finished_store, grey_values, original_reader
from lungdet.errors import StoreError
from lungdet.exploration.image_survey import survey_originals
from lungdet.io.image_collection import ImageCollection
from lungdet.store.image_preprocess import ImageSpec
from lungdet.store.image_statistics import FILE_NAME, read_statistics
from lungdet.store.image_store import ImageStore
from lungdet.store.image_writer import store_images

SPEC = ImageSpec(size_hw=(16, 16), dark_frame=None)


@pytest.fixture
def collection(tmp_path: Path) -> ImageCollection:
    write_pictures(tmp_path, 4)
    return collection_of(tmp_path)


@pytest.fixture
def store(collection: ImageCollection, tmp_path: Path) -> ImageStore:
    store_images(collection, tmp_path / "store.zarr", SPEC)
    return ImageStore(tmp_path / "store.zarr")


def datamodule(collection: ImageCollection, store: Any) -> Any:
    if isinstance(store, Exception):
        broken = type("Broken", (), {"store": property(lambda self: (_ for _ in ()).throw(store))})
        return broken()
    return SimpleNamespace(collection=collection, store=store)


def test_a_store_of_this_collection_is_used(collection: ImageCollection, store: ImageStore) -> None:
    assert finished_store(datamodule(collection, store)) is store


def test_a_store_of_other_images_or_none_is_not(
    collection: ImageCollection, store: ImageStore, caplog: pytest.LogCaptureFixture
) -> None:
    fewer = dataclasses.replace(collection, images=collection.images.iloc[:3])
    assert finished_store(datamodule(fewer, store)) is None
    assert "holds other images than this collection and is not used" in caplog.text
    assert finished_store(datamodule(collection, StoreError("no store"))) is None


def test_files_keep_the_channels_they_hold(collection: ImageCollection, tmp_path: Path) -> None:
    """A colourful file in a grey collection: its colours may be what tells the classes apart."""
    Image.fromarray(np.full((4, 5, 3), (200, 10, 10), np.uint8)).save(tmp_path / "001.png")
    with collection.pixels() as pixels:
        read = original_reader(collection, pixels)
        assert read("000").shape == (20, 24)
        assert read("001").shape == (4, 5, 3)


def test_images_inside_a_file_are_read_by_the_collection(collection: ImageCollection) -> None:
    inside = dataclasses.replace(collection, images=collection.images.assign(row=[0, 1, 2, 3]))
    asked: list[str] = []
    pixels: Any = SimpleNamespace(read=asked.append)
    original_reader(inside, pixels)("002")
    assert asked == ["002"]


def test_grey_values_of_the_store_are_kept_in_it(collection: ImageCollection, store: ImageStore) -> None:
    with collection.pixels() as pixels:
        survey = survey_originals(
            collection.images, pixels.read, classes=collection.classes, n_channels=1, preprocess=SPEC
        )
    counts, moments, kept_in = grey_values(survey, store, collection, n_channels=1)
    everything = store.read(np.arange(4)) / 255
    assert moments.mean == pytest.approx((everything.mean(),))
    assert set(counts) == set(collection.classes)
    assert kept_in == str(store.path / FILE_NAME)
    assert read_statistics(store.path) == moments
    preprocessed, same, nowhere = grey_values(survey, None, collection, n_channels=1)
    assert same.mean == pytest.approx(moments.mean), "preprocessed on the way"
    assert (set(preprocessed), nowhere) == (set(counts), "")
