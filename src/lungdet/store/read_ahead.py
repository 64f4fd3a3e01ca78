"""Has the kernel fetch the chunks of a mapped shard before they are read, but only while reading waits for a disk.

Cold, every page of a chunk is otherwise fetched when it is touched, one after the other. Warm, the announcements are
system calls for nothing and take a quarter of the time of an uncompressed crop (docs/store.md).
"""

from __future__ import annotations

import mmap
import resource

import numpy as np
import numpy.typing as npt

#: Chunks that lie closer than this in the file are fetched by one request.
MERGE_BYTES = 16 << 10
#: The kernel cuts longer announcements short (by `max_sectors_kb` and `read_ahead_kb` of the device).
REQUEST_BYTES = 512 << 10
#: Boxes that are announced at first, and after one that had to wait. The next one is read without, to see whether the
#: pages are in the cache by now; if they are not, it takes as long as some ten others.
ANNOUNCED_AFTER_WAITING = 256

# Of the calling thread where the system counts them so (Linux), else of the process.
_WHO = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


class DiskWatch:
    """Notices reads of memory maps that waited for a disk, by the major page faults they caused."""

    def __init__(self) -> None:
        self._left = ANNOUNCED_AFTER_WAITING
        self._faults = 0

    def should_announce(self) -> bool:
        """Whether the next box should be announced before it is read."""
        return self._left > 0

    def announced(self, boxes: int) -> None:
        """So many boxes were announced."""
        self._left = max(0, self._left - boxes)

    def begin(self) -> None:
        """Boxes that are not announced will be read."""
        self._faults = resource.getrusage(_WHO).ru_majflt

    def was_read(self) -> None:
        """One of them was."""
        faults = resource.getrusage(_WHO).ru_majflt
        if faults > self._faults:
            self._left = ANNOUNCED_AFTER_WAITING
        self._faults = faults


def announce(data: mmap.mmap, index: npt.NDArray[np.int64]) -> None:
    """Let the bytes that these index entries point to be fetched in the background.

    Args:
        data: the mapped file.
        index: int64 [..., 2], offset and length of each chunk in bytes; offset -1 where there is none.
    """
    for begin, end in file_ranges(index):
        for start in range(begin - begin % mmap.PAGESIZE, end, REQUEST_BYTES):
            data.madvise(mmap.MADV_WILLNEED, start, min(REQUEST_BYTES, end - start))


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
