"""The own reader gives what zarr-python gives, for every codec and any box, and names what is damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import google_crc32c
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BytesCodec

from lungdet.errors import StoreError
from lungdet.store.schema import StoreSpec
from lungdet.store.shard import ShardReader
from lungdet.store.shard_writer import write_array

CODECS: tuple[Literal["lz4", "zstd", "none"], ...] = ("lz4", "zstd", "none")


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_box_equals_zarr_python(
    codec: Literal["lz4", "zstd", "none"], make_store: Callable[[StoreSpec], Path], data: st.DataObject
) -> None:
    folder = make_store(StoreSpec(codec=codec)) / "scans" / "1.2.1" / "hu"
    reader = ShardReader(folder)
    start = [data.draw(st.integers(0, n - 1)) for n in reader.shape]
    stop = [data.draw(st.integers(b + 1, n)) for b, n in zip(start, reader.shape, strict=True)]
    out = np.empty([e - b for b, e in zip(start, stop, strict=True)], np.int16)
    reader.read(start, out)
    array = zarr.open_array(folder, mode="r")
    assert np.array_equal(out, array[tuple(slice(b, e) for b, e in zip(start, stop, strict=True))])


def test_the_layout_is_one_shard_of_small_chunks(make_store: Callable[..., Path]) -> None:
    array = zarr.open_array(make_store() / "scans" / "1.2.1" / "hu", mode="r")
    assert array.metadata.zarr_format == 3
    assert array.chunks == (32, 32, 32)
    assert array.nchunks > 1
    assert [
        p.name for p in (make_store() / "scans" / "1.2.1" / "hu").rglob("*") if p.is_file() and p.name != "zarr.json"
    ] == ["0"]


def test_a_volume_of_nothing_but_air_is_an_empty_shard(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "g", mode="w", zarr_format=3)
    write_array(tmp_path / "g", "hu", np.full((40, 40, 40), -1024, np.int16), fill=-1024, codec="lz4")
    out = np.zeros((3, 3, 3), np.int16)
    ShardReader(tmp_path / "g" / "hu").read((30, 30, 30), out)
    assert (out == -1024).all()


def test_a_shard_that_cannot_be_opened_is_named(copied: Path) -> None:
    shard = copied / "c" / "0" / "0" / "0"
    shard.unlink()
    shard.mkdir()
    with pytest.raises(StoreError, match=r"c/0/0/0: cannot be read \(Is a directory\)"):
        ShardReader(copied)


def test_a_shard_that_is_missing_is_not_taken_for_air(copied: Path) -> None:
    (copied / "c" / "0" / "0" / "0").unlink()
    with pytest.raises(StoreError, match=r"hu/c/0/0/0: is missing; preprocess this scan again"):
        ShardReader(copied)


def test_a_chunk_of_nothing_but_air_is_filled(tmp_path: Path) -> None:
    array = zarr.create_array(
        tmp_path / "a", shape=(64, 32, 32), chunks=(32, 32, 32), shards=(64, 32, 32), dtype="int16", fill_value=-1024,
        compressors=None,
    )  # fmt: skip
    array[:32] = 5
    out = np.zeros((4, 1, 1), np.int16)
    ShardReader(tmp_path / "a").read((30, 0, 0), out)
    assert out.ravel().tolist() == [5, 5, -1024, -1024]


@pytest.fixture
def copied(make_store: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(make_store() / "scans" / "1.2.1" / "hu", tmp_path / "hu"))


def test_a_truncated_shard_is_named(copied: Path) -> None:
    shard = copied / "c" / "0" / "0" / "0"
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(StoreError, match=r"50 bytes, shorter than its index of .*; preprocess this scan again"):
        ShardReader(copied)


def test_a_damaged_chunk_is_named(copied: Path) -> None:
    shard = copied / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[:64] = b"\xff" * 64
    shard.write_bytes(bytes(content))
    with pytest.raises(StoreError, match=r"chunk \(0, 0, 0\) does not decode"):
        ShardReader(copied).read((0, 0, 0), np.empty((2, 2, 2), np.int16))


def test_an_array_that_another_program_wrote_is_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a", shape=(4, 4, 4), chunks=(4, 4, 4), dtype="int16")
    with pytest.raises(StoreError, match="not an array of a lungdet store"):
        ShardReader(tmp_path / "a")


@pytest.mark.parametrize(("shape", "endian"), [((4, 4), "little"), ((4, 4, 4), "big")])
def test_another_number_of_axes_or_order_of_bytes_is_refused(
    shape: tuple[int, ...], endian: Literal["little", "big"], tmp_path: Path
) -> None:
    array = zarr.create_array(
        tmp_path / "a", shape=shape, chunks=shape, shards=shape, dtype="int16", compressors=None, fill_value=0,
        serializer=BytesCodec(endian=endian),
    )  # fmt: skip
    array[...] = 5
    with pytest.raises(StoreError, match="lungdet did not write"):
        ShardReader(tmp_path / "a")


def test_an_unknown_codec_is_refused(copied: Path) -> None:
    meta = json.loads((copied / "zarr.json").read_text())
    meta["codecs"][0]["configuration"]["codecs"][1]["name"] = "zfpy"
    (copied / "zarr.json").write_text(json.dumps(meta))
    with pytest.raises(StoreError, match="lungdet did not write"):
        ShardReader(copied)


def rewrite_index(shard: Path, chunks: int, change: tuple[int, int]) -> None:
    """Replace offset and length of the first chunk in the index at the end of the file, with the right checksum."""
    content = bytearray(shard.read_bytes())
    begin = len(content) - 4 - 16 * chunks
    content[begin : begin + 16] = np.array(change, "<u8").tobytes()
    content[-4:] = google_crc32c.value(bytes(content[begin:-4])).to_bytes(4, "little")
    shard.write_bytes(bytes(content))


def test_an_index_that_points_outside_the_file_is_named(copied: Path) -> None:
    rewrite_index(copied / "c" / "0" / "0" / "0", zarr.open_array(copied, mode="r").nchunks, (10**9, 10))
    with pytest.raises(StoreError, match="its index is damaged; preprocess this scan again"):
        ShardReader(copied)


def test_an_index_with_a_wrong_checksum_is_named(copied: Path) -> None:
    shard = copied / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[-12] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="its index is damaged; preprocess this scan again"):
        ShardReader(copied)


def test_uncompressed_chunks_with_gaps_are_refused(make_store: Callable[[StoreSpec], Path], tmp_path: Path) -> None:
    folder = make_store(StoreSpec(codec="none")) / "scans" / "1.2.1" / "hu"
    copy = Path(shutil.copytree(folder, tmp_path / "hu"))
    rewrite_index(copy / "c" / "0" / "0" / "0", zarr.open_array(copy, mode="r").nchunks, (10, 65536))
    with pytest.raises(StoreError, match="uncompressed chunks with gaps"):
        ShardReader(copy)
