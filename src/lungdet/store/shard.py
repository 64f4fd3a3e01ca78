"""Boxes of one zarr v3 array whose data is a single shard, without zarr-python's per-chunk event loop.

zarr.json is parsed once and the shard index (16 bytes a chunk, at the end of the file) is read once; a box then costs a
slice of the memory map and one decode for each inner chunk it touches (docs/benchmarks.md has the figures).
"""

from __future__ import annotations

import itertools
import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from numcodecs.blosc import Blosc

from lungdet.errors import StoreError

_MISSING = 2**64 - 1
_CHECKSUM_BYTES = 4


class ArrayReader(Protocol):
    """What the store needs of a 3-D array, wherever its bytes lie."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def read(self, start_zyx: Sequence[int], out: npt.NDArray[Any]) -> None:
        """Fill `out` with the box that begins at `start_zyx` and lies inside the array."""
        ...


class ShardReader:
    """Reads boxes of an array that `lungdet.store.writer` wrote: one shard, little-endian, blosc or no compression.

    Args:
        folder: the array's folder, with zarr.json and c/0/0/0.

    Raises:
        StoreError: not such an array, or a shard that is shorter than its index says.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            meta = json.loads((folder / "zarr.json").read_text())
            sharding = meta["codecs"][0]
            configuration = sharding["configuration"]
            codecs = [codec["name"] for codec in configuration["codecs"]]
            self.shape: tuple[int, int, int] = tuple(meta["shape"])
            self.dtype: np.dtype[Any] = np.dtype(meta["data_type"]).newbyteorder("<")
            self._chunk: tuple[int, int, int] = tuple(configuration["chunk_shape"])
            shard = tuple(meta["chunk_grid"]["configuration"]["chunk_shape"])
            fits = sharding["name"] == "sharding_indexed" and configuration["index_location"] == "end"
            self._fill = meta["fill_value"]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise StoreError(f"{folder}: not an array of a lungdet store ({error})") from error
        if (
            not fits
            or codecs not in (["bytes"], ["bytes", "blosc"])
            or any(s < n for s, n in zip(shard, self.shape, strict=True))
        ):
            raise StoreError(f"{folder}: an array that lungdet did not write (codecs {codecs}, shard {shard})")
        self._codec = Blosc() if "blosc" in codecs else None
        self._grid = tuple(s // c for s, c in zip(shard, self._chunk, strict=True))
        self._bytes, self._index = self._open()

    def _open(self) -> tuple[memoryview, npt.NDArray[np.uint64]]:
        path = self._folder / "c" / "0" / "0" / "0"
        entries = int(np.prod(self._grid))
        try:
            with path.open("rb") as file:
                data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except FileNotFoundError:  # zarr leaves out a shard that holds nothing but the fill value
            return memoryview(b""), np.full((*self._grid, 2), _MISSING, np.uint64)
        size = 16 * entries + _CHECKSUM_BYTES
        if len(data) < size:
            raise StoreError(f"{path}: {len(data)} bytes, shorter than its index of {size}; preprocess this scan again")
        index = np.frombuffer(data[len(data) - size : len(data) - _CHECKSUM_BYTES], "<u8").reshape(*self._grid, 2)
        return data, index

    def read(self, start_zyx: Sequence[int], out: npt.NDArray[Any]) -> None:
        """Fill `out` with the box that begins at `start_zyx` and lies inside the array.

        Raises:
            StoreError: a chunk that does not decode.
        """
        begins = [int(s) for s in start_zyx]
        ends = [b + n for b, n in zip(begins, out.shape, strict=True)]
        chunks = [range(b // c, -(-e // c)) for b, e, c in zip(begins, ends, self._chunk, strict=True)]
        for place in itertools.product(*chunks):
            source, target = [], []
            for axis, n in enumerate(place):
                first = n * self._chunk[axis]
                low, high = max(begins[axis], first), min(ends[axis], first + self._chunk[axis])
                source.append(slice(low - first, high - first))
                target.append(slice(low - begins[axis], high - begins[axis]))
            chunk = self._decode(place)
            out[tuple(target)] = self._fill if chunk is None else chunk[tuple(source)]

    def _decode(self, place: tuple[int, ...]) -> npt.NDArray[Any] | None:
        offset, length = (int(v) for v in self._index[place])
        if offset == _MISSING:
            return None
        data = self._bytes[offset : offset + length]
        try:
            raw = data if self._codec is None else self._codec.decode(data)
            return np.frombuffer(raw, self.dtype).reshape(self._chunk)
        except (RuntimeError, ValueError) as error:
            raise StoreError(
                f"{self._folder}: chunk {place} does not decode ({error}); preprocess this scan again"
            ) from error
