"""Crops by key: what was added is read back bit by bit, by other processes and other readers too; damage is noticed."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr

from lungdet.store import crop_array as module
from lungdet.store.crop_array import CropArray, Crops, Keys, record_bytes

SHAPE = (3, 4, 5)


def crops_of(numbers: Any) -> Crops:
    """A crop for each number, always the same one."""
    return np.stack([np.random.default_rng(int(n)).integers(-1024, 3071, SHAPE, np.int16) for n in numbers])


def keys_of(numbers: Any) -> Keys:
    return np.stack([np.random.default_rng([int(n), 1]).integers(0, 2**64, 2, np.uint64) for n in numbers])


def opened(folder: Path, *, most: int = 10_000) -> CropArray:
    return CropArray(folder, SHAPE, fill=-1024, most=most)


def read(array: CropArray, numbers: Any) -> Crops:
    slots = array.find(keys_of(numbers))
    assert (slots >= 0).all()
    out = np.zeros((len(slots), *SHAPE), np.int16)
    assert array.read(slots, out, np.arange(len(slots))).all()
    return out


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PER_SHARD", 10)
    monkeypatch.setattr(module, "_UNSORTED", 16)


def test_gives_back_what_was_added(tmp_path: Path) -> None:
    writer, other = opened(tmp_path / "a"), opened(tmp_path / "a")
    assert (other.find(keys_of([1, 2])) == -1).all()
    for first in range(0, 60, 6):
        numbers = np.arange(first, first + 6)
        assert writer.add(keys_of(numbers), crops_of(numbers))
    order = np.random.default_rng(0).permutation(60)
    for array in (writer, other, opened(tmp_path / "a")):
        assert len(order) == 60
        assert np.array_equal(read(array, order), crops_of(order))
        assert array.find(keys_of([7, 99, 8])).tolist() == [7, -1, 8]
        assert len(array) == 60


def test_nothing_is_added_twice(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    one.add(keys_of([5, 5, 3]), crops_of([5, 5, 3]))
    other.add(keys_of([3, 4]), crops_of([3, 4]))
    assert len(opened(tmp_path)) == 0, "nothing is read before it is asked for"
    assert one.find(keys_of([5, 3, 4])).tolist() == [0, 1, 2]
    assert len(one) == 3


def test_keeps_what_fits_and_says_so(tmp_path: Path) -> None:
    array = opened(tmp_path, most=3)
    assert array.add(keys_of([1, 2]), crops_of([1, 2]))
    assert not array.add(keys_of([3, 4]), crops_of([3, 4]))
    assert array.find(keys_of([1, 2, 3, 4])).tolist() == [0, 1, 2, -1]
    assert array.add(keys_of([2]), crops_of([2])), "what is there needs no room"


@pytest.mark.parametrize("reader", ["zarr", "tensorstore"])
def test_is_a_zarr_array_with_a_crop_a_chunk(reader: str, tmp_path: Path) -> None:
    array = opened(tmp_path)
    array.add(keys_of(range(13)), crops_of(range(13)))
    if reader == "zarr":
        opened_array = zarr.open_array(tmp_path, mode="r")
        assert opened_array.chunks == (1, *SHAPE)
        assert opened_array.shards == (10, *SHAPE)
        content = np.asarray(opened_array[...])
    else:
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{tmp_path}/"}}
        content = np.asarray(tensorstore.open(spec, read=True).result().read().result())
    assert content.shape == (20, *SHAPE)
    assert np.array_equal(content[:13], crops_of(range(13)))
    assert (content[13:] == -1024).all()


def test_a_killed_writer_leaves_nothing_that_is_believed(tmp_path: Path) -> None:
    """Killed between the crops and their keys, or in the middle of a key: the slots are taken again."""
    array = opened(tmp_path)
    array.add(keys_of([1, 2]), crops_of([1, 2]))
    array.add(keys_of([3, 4]), crops_of([3, 4]))
    keys = tmp_path / "keys"
    keys.write_bytes(keys.read_bytes()[: 2 * 16 + 7])
    again = opened(tmp_path)
    assert again.find(keys_of([1, 2, 3, 4])).tolist() == [0, 1, -1, -1]
    again.add(keys_of([4, 5]), crops_of([4, 5]))
    assert np.array_equal(read(opened(tmp_path), [5, 1, 4, 2]), crops_of([5, 1, 4, 2]))


def test_a_damaged_crop_is_noticed_and_written_again(tmp_path: Path) -> None:
    array = opened(tmp_path)
    array.add(keys_of([1, 2, 3]), crops_of([1, 2, 3]))
    shard = tmp_path / "c" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[record_bytes(SHAPE) + 9] ^= 1
    shard.write_bytes(bytes(content))
    array = opened(tmp_path)
    out = np.zeros((3, *SHAPE), np.int16)
    slots = array.find(keys_of([1, 2, 3]))
    assert array.read(slots, out, np.arange(3)).tolist() == [True, False, True]
    array.add(keys_of([2]), crops_of([2]))
    assert np.array_equal(read(opened(tmp_path), [1, 2, 3]), crops_of([1, 2, 3]))
    assert len(opened(tmp_path).find(keys_of([2]))) == 1
    shard.unlink()
    assert not opened(tmp_path).read(slots, out, np.arange(3)).any(), "a shard that is gone"


def test_metadata_grow_with_the_shards(tmp_path: Path) -> None:
    array = opened(tmp_path)
    for first in range(0, 30, 5):
        numbers = range(first, first + 5)
        array.add(keys_of(numbers), crops_of(numbers))
    assert json.loads((tmp_path / "zarr.json").read_text())["shape"] == [30, *SHAPE]
    assert len(list((tmp_path / "c").iterdir())) == 3


def fill(folder: Path, start: int) -> None:
    """Every process adds 0..79, beginning elsewhere, and reads what the others have added."""
    module.PER_SHARD, module._UNSORTED = 10, 16  # as in the process that started this one
    array = opened(folder)
    for first in range(80):
        number = (start + first) % 80
        array.add(keys_of([number]), crops_of([number]))
        assert np.array_equal(read(array, [number]), crops_of([number]))


@pytest.mark.slow
def test_processes_fill_one_array_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill, args=(tmp_path, start)) for start in (0, 30, 60)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    array = opened(tmp_path)
    assert np.array_equal(read(array, np.arange(80)), crops_of(range(80)))
    assert len(array) == 80, "each crop once"


def test_an_array_that_was_deleted_and_begun_anew_is_another_one(tmp_path: Path) -> None:
    """Somebody makes room while one process reads; the next process puts other crops into the same slots."""
    writer, reader, stopped = (opened(tmp_path / "a") for _ in range(3))
    for number in (1, 2, 3):
        writer.add(keys_of([number]), crops_of([number]))
    old = reader.find(keys_of([1, 2, 3])), stopped.find(keys_of([1, 2, 3]))
    assert [slots.tolist() for slots in old] == [[0, 1, 2]] * 2
    shutil.rmtree(tmp_path / "a")
    opened(tmp_path / "a").add(keys_of([7, 8, 9]), crops_of([7, 8, 9]))
    out = np.zeros((3, *SHAPE), np.int16)
    assert not reader.read(old[0], out, np.arange(3)).any(), "not the crops of 7, 8 and 9"
    stopped.add(keys_of([1, 2]), crops_of([1, 2]))
    assert np.array_equal(read(opened(tmp_path / "a"), [7, 8, 9, 1, 2]), crops_of([7, 8, 9, 1, 2])), "nothing destroyed"
    assert reader.find(keys_of([1, 9, 3])).tolist() == [3, 2, -1]
    assert np.array_equal(read(writer, [9, 2]), crops_of([9, 2]))


def test_keys_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    assert opened(tmp_path).find(keys_of([1])).tolist() == [-1]
