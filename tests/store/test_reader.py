"""Crops: the centre never moves, outside is air, every process and start method reads the same bytes."""

from __future__ import annotations

import pickle
import resource
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from lungdet.errors import StoreError
from lungdet.store import open_arrays
from lungdet.store.marker import write_marker
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec
from lungdet.store.shard import ShardReader

UIDS = ("1.2.1", "1.2.2", "1.2.3")


@pytest.fixture
def store(make_store: Callable[..., Path]) -> CtStore:
    return CtStore(make_store())


def slow_crop(
    volume: npt.NDArray[np.int16], center: npt.NDArray[Any], shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
    """Voxel by voxel, from the definition."""
    hu, valid = np.full(shape, -1024, np.int16), np.zeros(shape, bool)
    for place in np.ndindex(shape):
        index = tuple(int(c) - n // 2 + k for c, n, k in zip(center, shape, place, strict=True))
        if all(0 <= i < n for i, n in zip(index, volume.shape, strict=True)):
            hu[place], valid[place] = volume[index], True
    return hu, valid


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_crop_is_what_the_definition_says(make_store: Callable[..., Path], data: st.DataObject) -> None:
    store = CtStore(make_store())
    uid = data.draw(st.sampled_from(UIDS))
    geometry, volume = store.geometry(uid), store.volume(uid)
    center = np.array([data.draw(st.integers(-12, n + 12)) for n in volume.shape])
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(3))
    point = geometry.index_to_world(center + 0.3)
    hu, valid = store.crop(uid, point, shape)
    expected_hu, expected_valid = slow_crop(volume, center, shape)
    assert np.array_equal(hu, expected_hu)
    assert np.array_equal(valid, expected_valid)
    assert np.array_equal(store.crops([uid], [point], shape)[0], expected_hu)


def test_crops_come_in_one_block_in_the_order_asked(store: CtStore) -> None:
    uids = ["1.2.3", "1.2.1", "1.2.3"]
    centers = [store.geometry(u).index_to_world(np.array(store.geometry(u).shape_zyx) / 2) for u in uids]
    out = np.zeros((3, 8, 9, 10), np.int16)
    given_back = store.crops(uids, centers, (8, 9, 10), out=out)
    assert given_back is out
    for n, (uid, center) in enumerate(zip(uids, centers, strict=True)):
        assert np.array_equal(out[n], store.crop(uid, center, (8, 9, 10))[0])


def test_a_store_knows_what_it_holds(store: CtStore) -> None:
    assert store.series_uids == UIDS
    assert len(store) == 3
    assert "1.2.1" in store
    assert "9" not in store
    assert store.fingerprint == StoreSpec().fingerprint
    assert len({store.content_hash(uid) for uid in UIDS}) == 3
    assert store.lung_mask("1.2.1").shape == store.volume("1.2.1").shape


def test_errors_say_what_to_type(make_store: Callable[..., Path], store: CtStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"holds no series '1\.2\.4' among its 3; the nearest is 1\.2\."):
        store.crop("1.2.4", (0, 0, 0), (1, 1, 1))
    with pytest.raises(StoreError, match=r"holds no series 'zzz' among its 3$"):
        store.geometry("zzz")
    with pytest.raises(StoreError, match=r"no store at .*; make it: lungdet preprocess data=x"):
        CtStore(tmp_path / "none", command="lungdet preprocess data=x")
    with pytest.raises(StoreError, match=r"spacing_mm.*lungdet preprocess data=x overwrite=true"):
        CtStore(make_store(), expect=StoreSpec(spacing_mm=(2, 2, 2)), command="lungdet preprocess data=x")
    write_marker(tmp_path / "empty", StoreSpec())
    with pytest.raises(StoreError, match="holds no scans yet"):
        CtStore(tmp_path / "empty")


def test_a_store_without_masks_says_so(make_store: Callable[..., Path]) -> None:
    with pytest.raises(StoreError, match="holds no lung masks"):
        CtStore(make_store(StoreSpec(lung_mask=False))).lung_mask("1.2.1")


def test_a_damaged_scan_is_named(make_store: Callable[..., Path], tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(make_store(), tmp_path / "copy")
    (copy / "scans" / "1.2.1" / "zarr.json").write_text("{}")
    with pytest.raises(StoreError, match=r"damaged .* delete it and preprocess again"):
        CtStore(copy).geometry("1.2.1")


def test_open_files_stay_bounded(store: CtStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_arrays, "OPEN_ARRAYS", 2)
    first = store.volume("1.2.1")
    for uid in (*UIDS, *UIDS):
        store.volume(uid)
        store.lung_mask(uid)
        assert len(store._arrays) <= 2
    assert np.array_equal(store.volume("1.2.1"), first)


def test_a_batch_of_more_scans_than_files_may_be_open(
    make_store: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Boxes are read in parts, so that no more arrays are alive than the limit allows."""
    store = CtStore(make_store())
    centers = [store.geometry(uid).index_to_world((20, 20, 20)) for uid in UIDS]
    expected = store.crops(UIDS, centers, (9, 9, 9))
    monkeypatch.setattr(open_arrays, "OPEN_ARRAYS", 2)
    alive, most = weakref.WeakSet[ShardReader](), [0]

    def opened(self: CtStore, key: open_arrays.ArrayKey) -> ShardReader:
        reader = ShardReader(Path(str(self.path)) / "scans" / key[0] / key[1])
        alive.add(reader)
        most[0] = max(most[0], len(alive))
        return reader

    monkeypatch.setattr(CtStore, "_open", opened)
    got = CtStore(store.path).crops(UIDS * 8, centers * 8, (9, 9, 9))
    assert np.array_equal(got, np.concatenate([expected] * 8))
    assert most[0] <= 3, "two that are kept, and one in hand"


def test_crops_that_waited_for_the_disk_are_followed_by_announced_ones(
    store: CtStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    centers = store.geometry("1.2.1").index_to_world([(20, 20 + n % 20, 20) for n in range(100)])
    while store._watch.should_announce():
        expected = store.crops(["1.2.1"] * 100, centers, (9, 9, 9))
    announced: list[tuple[int, ...]] = []
    monkeypatch.setattr(ShardReader, "announce", lambda self, start, shape: announced.append(tuple(start)))
    faults = iter(range(10**6))
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_majflt=next(faults)))
    got = store.crops(["1.2.1"] * 100, centers, (9, 9, 9))
    assert np.array_equal(got, expected)
    assert len(announced) == 99, "all but the first"


def test_a_centre_that_is_no_number_is_named(store: CtStore) -> None:
    with pytest.raises(StoreError, match=r"must be three finite numbers, x, y, z in mm; got \[nan, 0.0, 1.0\]"):
        store.crops(["1.2.1", "1.2.1"], [[0.0, 0.0, 0.0], [np.nan, 0.0, 1.0]], (2, 2, 2))


def test_pickling_leaves_the_open_files_behind(store: CtStore) -> None:
    before = store.volume("1.2.1")
    again = pickle.loads(pickle.dumps(store))
    assert len(again._arrays) == 0
    assert np.array_equal(again.volume("1.2.1"), before)


class Crops(Dataset[torch.Tensor]):
    def __init__(self, store: CtStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return 24

    def __getitem__(self, n: int) -> torch.Tensor:
        uid = UIDS[n % 3]
        geometry = self.store.geometry(uid)
        center = geometry.index_to_world(np.array(geometry.shape_zyx) * n / 24)
        return torch.from_numpy(self.store.crop(uid, center, (16, 20, 24))[0])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 8 worker processes")
@pytest.mark.parametrize(
    ("workers", "method"),
    [(2, "fork"), (2, "spawn"), (2, "forkserver"), pytest.param(8, "fork", marks=pytest.mark.slow)],
)
def test_workers_read_the_same_bytes(workers: int, method: str, store: CtStore) -> None:
    expected = torch.stack([Crops(store)[n] for n in range(24)])  # opens files in this process first
    loader = DataLoader(Crops(store), batch_size=4, num_workers=workers, multiprocessing_context=method)
    assert torch.equal(torch.cat(list(loader)), expected)
