"""Batches of a store of five pictures: order, repeated rows, and an augmentation that knows its epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.store.image_files import collection_of, write_pictures

from lungdet.data.image_augment import ImageAugmentation, QuarterTurns
from lungdet.data.image_dataset import EpochInDraw, ImageDataset
from lungdet.data.sampling import NaturalSampling
from lungdet.errors import StoreError
from lungdet.store.image_preprocess import ImageSpec
from lungdet.store.image_store import ImageStore
from lungdet.store.image_writer import store_images

IDS = ["003", "001", "004"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder, 5)
    path = folder / "store.zarr"
    store_images(collection_of(folder), path, ImageSpec(size_hw=(16, 16), dark_frame=None))
    return ImageStore(path)


def dataset(store: ImageStore, *, augment: bool = False, seed: int = 0) -> ImageDataset:
    turns = ImageAugmentation([QuarterTurns()]) if augment else None
    return ImageDataset(store, IDS, label=np.array([1, 1, -1]), augment=turns, seed=seed)


def sampler(epoch: int) -> EpochInDraw:
    made = EpochInDraw(
        NaturalSampling(), rows=np.arange(3), labels=np.zeros(3, np.int64), n_records=3, batch_size=6, seed=1
    )
    made.set_epoch(epoch)
    return made


def test_a_batch_holds_the_stored_pixels_in_the_order_asked_for(store: ImageStore) -> None:
    batch = dataset(store).__getitems__([2, 0, 2 + 3])
    assert batch["pixels"].dtype == torch.uint8
    assert batch["pixels"].shape == (3, 1, 16, 16)
    assert batch["pixels"].is_contiguous()
    assert batch["index"].tolist() == [2, 0, 2], "draw 5 is the second appearance of row 2"
    assert batch["label"].tolist() == [-1, 1, -1]
    for image, name in zip(batch["pixels"], ("004", "003", "004"), strict=True):
        np.testing.assert_array_equal(image[0], store.image(name))


def test_one_item_is_a_batch_of_one(store: ImageStore) -> None:
    data = dataset(store)
    assert len(data) == 3
    torch.testing.assert_close(data[1], data.__getitems__([1]))


def test_an_image_that_is_not_stored_is_refused(store: ImageStore) -> None:
    with pytest.raises(StoreError, match="has no image '9'"):
        ImageDataset(store, ["003", "9"], label=np.zeros(2, np.int64))


def test_draws_hold_row_and_epoch() -> None:
    """The same order whatever the epoch's offset, so rows are found by the remainder."""
    for epoch in (0, 1, 7):
        draws = list(sampler(epoch))
        assert sorted(draw % 3 for draw in draws) == [0, 0, 1, 1, 2, 2]
        assert {draw // (3 * 2**20) for draw in draws} == {epoch}
        assert len(set(draws)) == 6
    assert len(sampler(0)) == 6


def test_augmentation_follows_seed_epoch_and_appearance(store: ImageStore) -> None:
    """Of 16 quarter turns some differ; what is asked for again is the same."""

    def turned(seed: int, epoch: int, appearance: int) -> torch.Tensor:
        draws = [3 * 2**20 * epoch + row + 3 * k for row in range(3) for k in range(appearance, appearance + 8)]
        return dataset(store, augment=True, seed=seed).__getitems__(draws)["pixels"]

    first = turned(0, 0, 0)
    assert torch.equal(first, turned(0, 0, 0))
    for other in (turned(1, 0, 0), turned(0, 1, 0), turned(0, 0, 8)):
        assert not torch.equal(first, other)
    plain = dataset(store).__getitems__([0])["pixels"]
    assert torch.equal(first[0].sort()[0].sum(), plain[0].sort()[0].sum()), "turned, not changed"


def test_the_place_in_a_batch_does_not_matter(store: ImageStore) -> None:
    data = dataset(store, augment=True)
    together = data.__getitems__([0, 1, 2, 3, 4, 5])["pixels"]
    alone = torch.cat([data[draw]["pixels"] for draw in range(6)])
    assert torch.equal(together, alone)
