"""Boxes of one array in an object store: only the chunks they need are fetched, once, into the cache on the local disk.

What a batch of crops needs is announced first, and asked for together when the first of them is read: the chunks of one
scan by one call that merges neighbours, the scans beside each other.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import StoreError
from lungdet.store.chunk_cache import SIZE_VARIABLE, CachedShard, ChunkCache
from lungdet.store.location import ObjectFolder
from lungdet.store.object_client import client, each
from lungdet.store.shard import SHARD, ShardArray

#: Chunks that lie closer than this in the shard are fetched by one request. A row of a crop's chunks lies together, the
#: next row some 300 kB further: merging those too would halve the requests and treble the bytes
#: (docs/object_stores.md).
MERGE_BYTES = 64 << 10
# A file that another process removed while a box was being fetched is filled again; not for ever.
_TRIES = 4

IntArray = npt.NDArray[np.int64]


class Fetches:
    """Chunks that were announced and are not here yet; fetched together when one of them is needed."""

    def __init__(self) -> None:
        self._wanted: dict[RemoteShardReader, list[IntArray]] = {}

    def want(self, array: RemoteShardReader, chunks: IntArray) -> None:
        """These chunks of an array will be read soon."""
        self._wanted.setdefault(array, []).append(chunks)

    def run(self) -> None:
        """Fetch all of them.

        Raises:
            StoreError: see `lungdet.store.object_errors`.
        """
        wanted, self._wanted = self._wanted, {}
        each(lambda item: item[0].fetch(np.unique(np.concatenate(item[1]))), wanted.items())


class RemoteShardReader(ShardArray):
    """Reads an array in an object store; other arguments and errors as `ShardArray`.

    Args:
        folder: the array's folder.
        cache: where its chunks are kept.
        fetches: shared by the arrays that are read together.
    """

    def __init__(self, folder: ObjectFolder, *, cache: ChunkCache, fetches: Fetches) -> None:
        self._shard, self._cache, self._fetches = folder / SHARD, cache, fetches
        self._file: CachedShard
        super().__init__(folder)
        # Numbers of the chunks, and which of them this process knows to be here; what holds air only is not stored.
        self._numbers = np.arange(int(np.prod(self._grid))).reshape(self._grid)
        self._is_here = self._index[..., 0] < 0

    def _open(self) -> tuple[mmap.mmap, IntArray]:
        tail, size, version = client(self._shard.root).read_end(self._shard.key, self._index_bytes)
        index = self._parse_index(tail, size)
        self._file = self._cache.open(str(self._shard), version=version, size=size, n_chunks=int(np.prod(self._grid)))
        return self._file.data, index

    def announce(self, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> None:
        """Have what this box needs fetched by the next read of any array that shares `fetches`."""
        missing = self._missing(start_zyx, shape_zyx)
        if len(missing):
            self._fetches.want(self, missing)

    def read(self, start_zyx: Sequence[int], out: npt.NDArray[Any]) -> None:
        """As `ShardArray.read`, after what is missing was fetched, with all that was announced.

        Raises:
            StoreError: see `lungdet.store.object_errors`; or a chunk that does not decode.
        """
        for _ in range(_TRIES):
            missing = self._missing(start_zyx, out.shape)
            if not len(missing):
                return super().read(start_zyx, out)
            self._fetches.want(self, missing)
            self._fetches.run()
        raise StoreError(
            f"{self._cache.folder}: chunks are removed faster than they are read; set {SIZE_VARIABLE} to a larger size"
        )

    def _missing(self, start_zyx: Sequence[int], shape_zyx: Sequence[int]) -> IntArray:
        """Numbers of the chunks of a box that have to be fetched."""
        (z, y, x), (depth, height, width), (chunk_z, chunk_y, chunk_x) = start_zyx, shape_zyx, self._chunk
        box = (
            slice(z // chunk_z, (z + depth - 1) // chunk_z + 1),
            slice(y // chunk_y, (y + height - 1) // chunk_y + 1),
            slice(x // chunk_x, (x + width - 1) // chunk_x + 1),
        )
        here = self._is_here[box]
        if here.all():
            return _NONE
        numbers: IntArray = self._numbers[box][~here]
        # A chunk that another process, or an earlier run, fetched is checked once in this process.
        found = np.array([self._file.has(n, *self._entry(n)) for n in numbers.tolist()])
        self._is_here.flat[numbers[found]] = True
        missing: IntArray = numbers[~found]
        return missing

    def _entry(self, number: int) -> tuple[int, int]:
        offset, length = self._index.reshape(-1, 2)[number].tolist()
        return offset, length

    def fetch(self, chunks: IntArray) -> None:
        """Fetch these chunks, sorted and each once, and keep them.

        Raises:
            StoreError: see `lungdet.store.object_errors`; or the object is shorter than its index says.
        """
        starts, lengths = self._index.reshape(-1, 2)[chunks].T.tolist()
        parts = client(self._shard.root).read_ranges(self._shard.key, starts, lengths, merge=MERGE_BYTES)
        if [len(part) for part in parts] != lengths:
            raise StoreError(f"{self._shard}: shorter than its index says; was it replaced just now? Type it again")
        if self._file.add(chunks.tolist(), starts, parts):
            self._is_here = self._index[..., 0] < 0
            self._use(self._file.data)
        self._is_here.flat[chunks] = True


_NONE = np.empty(0, np.int64)
