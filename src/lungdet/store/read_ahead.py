"""Tells the kernel which parts of a mapped shard will be read soon, so that a cold cache costs one wait and not many.

Without it every page of a chunk is fetched when it is touched, one after the other, with read-ahead nobody asked for
(docs/benchmarks.md: cold crops).
"""

from __future__ import annotations

import mmap
import time

import numpy as np
import numpy.typing as npt

#: How long an announced chunk is taken to be in the page cache: less than the cache takes to turn over.
RESIDENT_SECONDS = 20.0
#: Chunks that lie closer than this in the file are fetched by one request.
MERGE_BYTES = 16 << 10
#: The kernel cuts longer announcements short (by `max_sectors_kb` and `read_ahead_kb` of the device).
REQUEST_BYTES = 512 << 10

Box = tuple[slice, slice, slice]


class ReadAhead:
    """Announces chunks of one mapped shard, each at most once in `RESIDENT_SECONDS`.

    Args:
        data: the mapped file.
        index: int64 [gz, gy, gx, 2], offset and length of each chunk in bytes; offset -1 where there is none.
    """

    def __init__(self, data: mmap.mmap, index: npt.NDArray[np.int64]) -> None:
        # All reading ahead is ours: the kernel's guess fetches what lies between the chunks too.
        data.madvise(mmap.MADV_RANDOM)
        self._data, self._index = data, index
        self._announced = np.zeros(index.shape[:3], bool)
        self._forget_at = 0.0

    def announce(self, chunks: Box) -> None:
        """Let the bytes of these chunks be fetched in the background."""
        now = time.monotonic()
        if now > self._forget_at:
            self._announced[...] = False
            self._forget_at = now + RESIDENT_SECONDS
        announced = self._announced[chunks]
        if announced.all():
            return
        announced[...] = True
        for begin, end in file_ranges(self._index[chunks]):
            for start in range(begin - begin % mmap.PAGESIZE, end, REQUEST_BYTES):
                self._data.madvise(mmap.MADV_WILLNEED, start, min(REQUEST_BYTES, end - start))


def file_ranges(index: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """The parts of the file that these index entries point to, first byte and end, neighbours merged.

    >>> file_ranges(np.array([[200_000, 50], [0, 100], [100, 60], [-1, -1]]))
    [(0, 160), (200000, 200050)]
    """
    ranges: list[tuple[int, int]] = []
    for offset, length in sorted(index.reshape(-1, 2).tolist()):
        if offset < 0:
            continue
        if ranges and offset - ranges[-1][1] <= MERGE_BYTES:
            ranges[-1] = (ranges[-1][0], offset + length)
        else:
            ranges.append((offset, offset + length))
    return ranges
