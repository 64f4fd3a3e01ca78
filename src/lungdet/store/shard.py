"""Boxes of one zarr v3 array whose data is a single shard, without zarr-python's per-chunk event loop.

zarr.json is parsed once and the shard index (16 bytes a chunk, at the end of the file) is read once; a box then costs a
slice of the memory map and one decode for each inner chunk it touches (docs/benchmarks.md has the figures).
"""

from __future__ import annotations

import functools
import json
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from lungdet.errors import StoreError
from lungdet.store.location import StoreLocation
from lungdet.store.read_ahead import announce

#: Where an array's one shard lies in its folder.
SHARD = "c/0/0/0"
_CHECKSUM_BYTES = 4


class ArrayReader(Protocol):
    """What the store needs of a 3-D array, wherever its bytes lie."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def announce(self, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> None:
        """Let the bytes of this box be fetched while other work is done; it will be read soon."""
        ...

    def read(self, start_zyx: Sequence[int], out: npt.NDArray[Any]) -> None:
        """Fill `out` with the box that begins at `start_zyx` and lies inside the array."""
        ...


class ShardArray(ABC):
    """Boxes of an array that `lungdet.store.writer` wrote: one shard, little-endian, blosc or no compression.

    A subclass says where its bytes come from.

    Args:
        folder: the array's folder, with zarr.json and c/0/0/0.

    Raises:
        StoreError: not such an array, or a shard that is missing or shorter than its index says.
    """

    def __init__(self, folder: StoreLocation) -> None:
        # A chunk is too small to share among threads, and the pool of blosc does not live through a fork. zarr-python
        # sets the same switch.
        blosc.use_threads = False
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
            is_little = configuration["codecs"][0].get("configuration", {}).get("endian", "little") == "little"
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise StoreError(f"{folder}: not an array of a lungdet store ({error})") from error
        if (
            not fits
            or len(self.shape) != 3
            or not is_little
            or codecs not in (["bytes"], ["bytes", "blosc"])
            or any(s < n for s, n in zip(shard, self.shape, strict=True))
        ):
            raise StoreError(f"{folder}: an array that lungdet did not write (codecs {codecs}, shard {shard})")
        self._grid = tuple(s // c for s, c in zip(shard, self._chunk, strict=True))
        self._is_plain = "blosc" not in codecs
        try:
            data, self._index = self._open()
        except FileNotFoundError as error:
            # zarr takes it for a volume of nothing but air, which our writer writes too.
            raise StoreError(f"{folder / SHARD}: is missing; preprocess this scan again") from error
        except OSError as error:
            raise StoreError(f"{folder / SHARD}: cannot be read ({error.strerror or error})") from error
        self._use(data)

    @abstractmethod
    def _open(self) -> tuple[mmap.mmap, npt.NDArray[np.int64]]:
        """The shard's bytes, and int64 [gz, gy, gx, 2]: offset (-1 where there is none) and length of each chunk.

        Raises:
            FileNotFoundError: there is no shard.
        """

    @property
    def _index_bytes(self) -> int:
        """Length of the index at the end of the shard."""
        return 16 * int(np.prod(self._grid)) + _CHECKSUM_BYTES

    def _parse_index(self, tail: bytes, length: int) -> npt.NDArray[np.int64]:
        """The index of a shard of `length` bytes from its last `_index_bytes`: int64 [gz, gy, gx, 2]."""
        size = self._index_bytes
        path = self._folder / SHARD
        if length < size:
            raise StoreError(f"{path}: {length} bytes, shorter than its index of {size}; preprocess this scan again")
        entries, checksum = tail[:-_CHECKSUM_BYTES], int.from_bytes(tail[-_CHECKSUM_BYTES:], "little")
        index = np.frombuffer(entries, "<i8").reshape(*self._grid, 2)
        stored = index[index[..., 0] >= 0]
        if google_crc32c.value(entries) != checksum or (stored.sum(axis=-1) > length - size).any():
            raise StoreError(f"{path}: its index is damaged; preprocess this scan again")
        return index

    def _use(self, data: mmap.mmap) -> None:
        """Read from these bytes from now on."""
        self._bytes = data
        self._view = memoryview(data)
        self._plain = self._uncompressed() if self._is_plain else None

    def _uncompressed(self) -> npt.NDArray[Any]:
        """The stored chunks in the order of the file: [n, *chunk], no copy.

        Raises:
            StoreError: the chunks do not follow each other without gaps, as those of every writer do.
        """
        size = int(np.prod(self._chunk)) * self.dtype.itemsize
        offsets = self._index[..., 0]
        if (offsets[offsets >= 0] % size).any() or (self._index[offsets >= 0, 1] != size).any():
            raise StoreError(f"{self._folder}: uncompressed chunks with gaps between them; preprocess this scan again")
        return np.ndarray((len(self._bytes) // size, *self._chunk), self.dtype, self._bytes)

    def read(self, start_zyx: Sequence[int], out: npt.NDArray[Any]) -> None:
        """Fill `out` with the box that begins at `start_zyx` and lies inside the array.

        Raises:
            StoreError: a chunk that does not decode.
        """
        # A crop takes about 80 microseconds, so axes are written out here instead of looped over: one look-up in the
        # index for all chunks, slices from a cache, and a chunk is indexed where it lies.
        (z, y, x), (depth, height, width), (chunk_z, chunk_y, chunk_x) = start_zyx, out.shape, self._chunk
        along_z = _pieces(z % chunk_z, depth, chunk_z)
        along_y = _pieces(y % chunk_y, height, chunk_y)
        along_x = _pieces(x % chunk_x, width, chunk_x)
        z, y, x = z // chunk_z, y // chunk_y, x // chunk_x
        index = self._index[z : z + len(along_z), y : y + len(along_y), x : x + len(along_x)].tolist()
        chunk = np.empty(self._chunk, self.dtype)
        for (source_z, target_z), layer in zip(along_z, index, strict=True):
            for (source_y, target_y), row in zip(along_y, layer, strict=True):
                for (source_x, target_x), (offset, length) in zip(along_x, row, strict=True):
                    if offset < 0:
                        out[target_z, target_y, target_x] = self._fill
                        continue
                    if self._plain is None:
                        self._decode(offset, length, chunk)
                    else:
                        chunk = self._plain[offset // self._plain.strides[0]]
                    out[target_z, target_y, target_x] = chunk[source_z, source_y, source_x]

    def _decode(self, offset: int, length: int, chunk: npt.NDArray[Any]) -> None:
        try:
            blosc.decompress(self._view[offset : offset + length], chunk)
        except (RuntimeError, ValueError) as error:
            place = tuple(int(n) for n in np.argwhere(self._index[..., 0] == offset)[0])
            raise StoreError(
                f"{self._folder}: chunk {place} does not decode ({error}); delete {self._folder.parent} and preprocess "
                "this scan again"
            ) from error


class ShardReader(ShardArray):
    """Reads an array in a local folder, by a memory map; arguments and errors as `ShardArray`."""

    def __init__(self, folder: Path) -> None:
        self._path = folder
        super().__init__(folder)

    def _open(self) -> tuple[mmap.mmap, npt.NDArray[np.int64]]:
        path = self._path / SHARD
        size = self._index_bytes
        with path.open("rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            # Read, not mapped: on a cold cache one request instead of one for every page.
            index = self._parse_index(os.pread(file.fileno(), size, max(0, length - size)), length)
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # The kernel's guess of what will be read next fetches what lies between the chunks; ours is `announce`.
        data.madvise(mmap.MADV_RANDOM)
        return data, index

    def announce(self, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> None:
        """Have the kernel fetch what a later `read` of this box needs; returns at once."""
        (z, y, x), (depth, height, width), (chunk_z, chunk_y, chunk_x) = start_zyx, shape_zyx, self._chunk
        chunks = self._index[
            z // chunk_z : (z + depth - 1) // chunk_z + 1,
            y // chunk_y : (y + height - 1) // chunk_y + 1,
            x // chunk_x : (x + width - 1) // chunk_x + 1,
        ]
        announce(self._bytes, chunks)


@functools.lru_cache(maxsize=4096)
def _pieces(offset: int, length: int, chunk: int) -> tuple[tuple[slice, slice], ...]:
    """Along one axis, for each chunk that a box touches: which part of the chunk goes to which part of the box.

    Args:
        offset: where the box begins in its first chunk.
        length: of the box.
        chunk: size of a chunk.
    """
    found = []
    for first in range(0, offset + length, chunk):
        low, high = max(offset, first), min(offset + length, first + chunk)
        found.append((slice(low - first, high - first), slice(low - offset, high - offset)))
    return tuple(found)
