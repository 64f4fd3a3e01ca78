"""What our writer writes is what any zarr library reads, checksum of the index included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from lungdet.store.shard import ShardReader
from lungdet.store.shard_writer import write_array


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
@pytest.mark.parametrize("shape", [(32, 64, 32), (1, 33, 70), (40, 31, 32)])
def test_zarr_python_and_our_reader_get_every_voxel_back(
    codec: str, dtype: Any, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    zarr.open_group(tmp_path / "g", mode="w", zarr_format=3)
    write_array(tmp_path / "g", "a", values, fill=7, codec=codec)
    array = zarr.open_group(tmp_path / "g", mode="r")["a"]
    assert isinstance(array, zarr.Array)
    assert array.fill_value == 7
    assert array.chunks == (32, 32, 32)
    assert np.array_equal(np.asarray(array[...]), values)
    out = np.empty(shape, dtype)
    ShardReader(tmp_path / "g" / "a").read((0, 0, 0), out)
    assert np.array_equal(out, values)


def test_chunks_of_nothing_but_fill_take_no_space(tmp_path: Path) -> None:
    values = np.full((64, 32, 32), -1024, np.int16)
    values[40, 5, 5] = -1023
    zarr.open_group(tmp_path, mode="w", zarr_format=3)
    write_array(tmp_path, "a", values, fill=-1024, codec="none")
    chunk, entry, checksum = 2 * 32**3, 16, 4
    assert (tmp_path / "a" / "c" / "0" / "0" / "0").stat().st_size == chunk + 2 * entry + checksum
    assert np.array_equal(np.asarray(zarr.open_array(tmp_path / "a", mode="r")[...]), values)


def test_a_volume_of_nothing_but_fill_reads_back(tmp_path: Path) -> None:
    zarr.open_group(tmp_path, mode="w", zarr_format=3)
    write_array(tmp_path, "a", np.zeros((5, 6, 7), np.uint8), fill=0, codec="lz4")
    out = np.ones((5, 6, 7), np.uint8)
    ShardReader(tmp_path / "a").read((0, 0, 0), out)
    assert not out.any()


def test_a_flipped_bit_in_the_index_is_noticed_by_zarr(tmp_path: Path) -> None:
    zarr.open_group(tmp_path, mode="w", zarr_format=3)
    write_array(tmp_path, "a", np.ones((5, 6, 7), np.int16), fill=0, codec="lz4")
    shard = tmp_path / "a" / "c" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[-8] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_array(tmp_path / "a", mode="r")[...]
