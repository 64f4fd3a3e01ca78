"""Kept crops are the store's to the last voxel; later runs read no scan; if anything fails, the scans are read."""

from __future__ import annotations

import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import zarr
from torch.utils.data import DataLoader

from lungdet.data.candidate_dataset import RawBatch
from lungdet.data.crop_cache import CropCachedStore
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.sampling import NaturalSampling
from lungdet.errors import ConfigError, StoreError
from lungdet.store.reader import CtStore

SHAPE = (8, 12, 10)

Factory = Callable[..., Luna16DataModule]
Points = tuple[list[str], npt.NDArray[np.float64]]


def drawn(store: CtStore, count: int, *, seed: int) -> Points:
    """Points in and around the scans, so that some crops reach over a border and some lie outside."""
    generator = np.random.default_rng(seed)
    uids = [str(uid) for uid in generator.choice(store.series_uids, count)]
    shapes = np.array([store.geometry(uid).shape_zyx for uid in uids])
    places = generator.uniform(-12, shapes + 12)
    return uids, np.stack([store.geometry(uid).index_to_world(p) for uid, p in zip(uids, places, strict=True)])


@pytest.fixture
def store(luna_store: Path) -> CtStore:
    return CtStore(luna_store)


@pytest.fixture
def cached(store: CtStore, tmp_path: Path) -> CropCachedStore:
    return CropCachedStore(store, folder=tmp_path / "crops", limit_gb=1)


def count_of(folder: Path) -> int:
    return sum(path.stat().st_size // 16 for path in folder.glob("*/keys"))


def test_crops_equal_those_of_the_store_however_they_come(store: CtStore, cached: CropCachedStore) -> None:
    uids, centers = drawn(store, 60, seed=0)
    expected = store.crops(uids, centers, SHAPE)
    assert ((expected == -1024).mean(axis=(1, 2, 3)) == 1).any()
    assert np.array_equal(cached.crops(uids[:40], centers[:40], SHAPE), expected[:40]), "all cut"
    assert np.array_equal(cached.crops(uids, centers, SHAPE), expected), "some of them"
    out = np.zeros((60, *SHAPE), np.int16)
    assert cached.crops(uids, centers, SHAPE, out=out) is out
    assert np.array_equal(out, expected), "all kept"
    assert np.array_equal(pickle.loads(pickle.dumps(cached)).crops(uids[::-1], centers[::-1], SHAPE), expected[::-1])
    strided = np.zeros((60, 2, *SHAPE), np.int16)[:, 0]
    assert np.array_equal(cached.crops(uids, centers, SHAPE, out=strided), expected)


def test_what_is_kept_needs_no_scan(luna_store: Path, tmp_path: Path) -> None:
    """The voxels of a copy of the store are deleted after its crops were kept."""
    shutil.copytree(luna_store, tmp_path / "store")
    store = CtStore(tmp_path / "store")
    uids, centers = drawn(store, 30, seed=1)
    expected = CropCachedStore(store, folder=tmp_path / "crops", limit_gb=1).crops(uids, centers, SHAPE)
    for shard in (tmp_path / "store").rglob("c/0/0/0"):
        shard.unlink()
    assert np.array_equal(
        CropCachedStore(store, folder=tmp_path / "crops", limit_gb=1).crops(uids, centers, SHAPE), expected
    )
    with pytest.raises(StoreError, match="is missing; preprocess this scan again"):
        CtStore(tmp_path / "store").crops(uids, centers, SHAPE)


def test_another_shape_and_another_scan_of_the_same_name_are_other_crops(luna_store: Path, tmp_path: Path) -> None:
    shutil.copytree(luna_store, tmp_path / "store")
    first = CropCachedStore(CtStore(tmp_path / "store"), folder=tmp_path / "crops", limit_gb=1)
    one, other = first.series_uids[:2]
    center = np.array([first.geometry(one).index_to_world((9, 9, 9))])
    kept = first.crops([one], center, SHAPE)
    assert np.array_equal(first.crops([one], center, (4, 5, 6)), CtStore(luna_store).crops([one], center, (4, 5, 6)))
    scans = tmp_path / "store" / "scans"
    shutil.rmtree(scans / one)
    shutil.copytree(scans / other, scans / one)
    again = CtStore(tmp_path / "store")
    changed = CropCachedStore(again, folder=tmp_path / "crops", limit_gb=1).crops([one], center, SHAPE)
    assert np.array_equal(changed, again.crops([one], center, SHAPE))
    assert not np.array_equal(changed, kept)


def test_the_array_of_kept_crops_can_be_read_by_others(store: CtStore, cached: CropCachedStore, tmp_path: Path) -> None:
    uids, centers = drawn(store, 5, seed=2)
    crops = cached.crops(uids, centers, SHAPE)
    array = zarr.open_array(tmp_path / "crops" / f"{store.fingerprint}-8x12x10", mode="r")
    assert array.shards == (1000, *SHAPE)
    assert np.array_equal(np.asarray(array[:5]), crops)


def test_a_wrong_centre_is_refused_as_the_store_does(store: CtStore, cached: CropCachedStore) -> None:
    with pytest.raises(StoreError, match="three finite numbers"):
        cached.crops([store.series_uids[0]], [[0.0, np.nan, 0.0]], SHAPE)


def test_a_full_cache_serves_what_it_has(store: CtStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    uids, centers = drawn(store, 20, seed=3)
    small = CropCachedStore(store, folder=tmp_path, limit_gb=8 * (2 * 8 * 12 * 10 + 4) / 1e9)
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            assert np.array_equal(small.crops(uids, centers, SHAPE), store.crops(uids, centers, SHAPE))
    assert count_of(tmp_path) == 8
    assert caplog.text.count("is full with 8 crops") == 1


def test_a_cache_that_cannot_be_written_costs_nothing_but_speed(
    store: CtStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    uids, centers = drawn(store, 4, seed=4)
    cached = CropCachedStore(store, folder=tmp_path / "file", limit_gb=1)
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            assert np.array_equal(cached.crops(uids, centers, SHAPE), store.crops(uids, centers, SHAPE))
    assert caplog.text.count("crops are not kept any more") == 1


def test_a_damaged_crop_is_cut_again(store: CtStore, cached: CropCachedStore, tmp_path: Path) -> None:
    uids, centers = drawn(store, 6, seed=5)
    expected = cached.crops(uids, centers, SHAPE)
    (shard,) = (tmp_path / "crops").rglob("c/0/0/0/0")
    content = bytearray(shard.read_bytes())
    content[3 * (2 * 8 * 12 * 10 + 4) + 100] ^= 1
    shard.write_bytes(bytes(content))
    for _ in range(2):
        again = CropCachedStore(store, folder=tmp_path / "crops", limit_gb=1)
        assert np.array_equal(again.crops(uids, centers, SHAPE), expected)
    assert bytearray(shard.read_bytes()) != content
    assert count_of(tmp_path / "crops") == 6


# -- through the DataModule -------------------------------------------------------------------------------------------


def batches(loader: DataLoader[RawBatch]) -> list[RawBatch]:
    return [{name: value.clone() for name, value in batch.items()} for batch in loader]  # type: ignore[misc]


def assert_same(given: list[RawBatch], wanted: list[RawBatch]) -> None:
    assert len(given) == len(wanted) > 0
    for one, other in zip(given, wanted, strict=True):
        assert set(one) == set(other)
        assert all(torch.equal(one[name], other[name]) for name in other)  # type: ignore[literal-required]


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_training_sees_the_same_batches(make_datamodule: Factory, tmp_path: Path, num_workers: int) -> None:
    plain = make_datamodule(sampling=NaturalSampling())
    plain.setup()
    wanted = batches(plain.train_dataloader())
    for _ in range(2):
        cached = make_datamodule(sampling=NaturalSampling(), crop_cache=tmp_path / "crops", num_workers=num_workers)
        cached.setup()
        assert_same(batches(cached.train_dataloader()), wanted)
    rows = {int(row) for batch in wanted for row in batch["index"]}
    assert 0.9 * len(rows) <= count_of(tmp_path / "crops") <= len(rows), "each crop once; a few points are one voxel's"


def test_only_training_crops_are_kept(make_datamodule: Factory, tmp_path: Path) -> None:
    datamodule = make_datamodule(crop_cache=tmp_path / "crops")
    datamodule.setup()
    batches(datamodule.val_dataloader())
    assert not (tmp_path / "crops").exists()
    batches(datamodule.train_dataloader())
    assert count_of(tmp_path / "crops") > 0


def test_a_limit_that_holds_nothing_is_refused(make_datamodule: Factory) -> None:
    with pytest.raises(ConfigError, match=r"data\.crop_cache_gb=0 must be > 0"):
        make_datamodule(crop_cache_gb=0)
