"""The arrays a process keeps open, as many as the system allows."""

from __future__ import annotations

import contextlib
import resource
from collections import OrderedDict

from lungdet.store.shard import ArrayReader

#: Arrays a process keeps open, each one memory map, one file and some 30 kB of index. Opening one anew takes as long as
#: a crop, so the scans of a whole collection should stay open.
OPEN_ARRAYS = 2048
#: Series UID and the array's name.
ArrayKey = tuple[str, str]


class OpenArrays:
    """Open arrays by name; the one opened first makes room for another, since training asks for all alike."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[ArrayKey, ArrayReader] = OrderedDict()
        self._limit: int | None = None

    @property
    def _most(self) -> int:
        if self._limit is None:
            self._limit = most_open()
        return self._limit

    @property
    def at_once(self) -> int:
        """How many may be in somebody's hands beside those that are kept, so that files are left for others."""
        return max(1, self._most // 2)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, key: object) -> bool:
        return key in self._arrays

    def get(self, key: ArrayKey) -> ArrayReader | None:
        """The array, or None if it is not open."""
        return self._arrays.get(key)

    def keep(self, key: ArrayKey, array: ArrayReader) -> None:
        """Keep one that was opened."""
        while len(self._arrays) >= self._most:
            self._arrays.popitem(last=False)
        self._arrays[key] = array


def most_open() -> int:
    """Half of the files that this process may have open, after asking for as many as `OPEN_ARRAYS` needs.

    The usual limit of 1,024 is a soft one, for old programs; raising it needs no privilege.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * OPEN_ARRAYS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):  # some systems refuse what they promise
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    return OPEN_ARRAYS if soft == resource.RLIM_INFINITY else max(1, min(OPEN_ARRAYS, soft // 2))
