"""Chunks of remote shards kept on the local disk: one sparse file a shard, the least recently used removed first.

    <folder>/chunks/<name>     the shard's bytes at their own places, as far as they were fetched; then 8 bytes a chunk:
                               1 where it is here, and the CRC-32C of its bytes

Any number of processes read and fill the same file: whoever writes a chunk writes the same bytes, then its check. What
does not fit its check (a crash, a full disk, another machine's half-written page) counts as not here.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import logging
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np

from lungdet.errors import ConfigError, StoreError
from lungdet.store.location import StoreLocation

log = logging.getLogger(__name__)

#: Folder and size of the cache. They belong to a machine, not to an experiment, so they stand in no configuration.
FOLDER_VARIABLE, SIZE_VARIABLE = "LUNGDET_CACHE", "LUNGDET_CACHE_GB"
DEFAULT_GB = 20.0
# A process looks at the size of the cache after it has written this part of it.
_LOOK_AFTER = 1 / 64
# What is left after old files were removed, so that they are not removed one by one.
_KEEP = 0.9
_HERE = 1 << 32


class ChunkCache:
    """Files for the chunks of shards, in a folder of limited size.

    Args:
        folder: where; made when the first chunk arrives. None takes LUNGDET_CACHE, else ~/.cache/lungdet
            (XDG_CACHE_HOME).
        max_gb: most that is kept, in GB. None takes LUNGDET_CACHE_GB, else 20. A process may write 1/64 of it before
            it looks, so several may together go over it by as much.

    Raises:
        ConfigError: a size that is no number above 0.
    """

    def __init__(self, folder: Path | str | None = None, *, max_gb: float | None = None) -> None:
        self.folder = cache_folder() if folder is None else Path(folder)
        given = os.environ.get(SIZE_VARIABLE, DEFAULT_GB) if max_gb is None else max_gb
        try:
            self.max_bytes = int(float(given) * 1e9)
        except (ValueError, OverflowError):
            self.max_bytes = 0
        if self.max_bytes <= 0:
            raise ConfigError([f"{SIZE_VARIABLE}={given} must be a size in GB above 0, e.g. {SIZE_VARIABLE}=50"])
        self._written = 0

    def open(self, place: str, *, version: str, size: int, n_chunks: int) -> CachedShard:
        """The file of one shard.

        Args:
            place: address of the shard.
            version: what changes with its content; another one has another file.
            size: of the shard in bytes.
            n_chunks: that it has.

        Raises:
            StoreError: the folder cannot be written to.
        """
        name = hashlib.sha256(f"{place}\n{version}\n{size}".encode()).hexdigest()[:32]
        return CachedShard(self, self.folder / "chunks" / name, size=size, n_chunks=n_chunks)

    def wrote(self, n_bytes: int) -> None:
        """So many bytes were added; removes old files when there are too many."""
        self._written += n_bytes
        if self._written > self.max_bytes * _LOOK_AFTER:
            self._written = 0
            try:
                self.shrink()
            except OSError as error:  # such as a folder that somebody deletes just now; the new chunks are kept
                log.warning("%s: old chunks cannot be removed (%s)", self.folder, error)

    def shrink(self) -> None:
        """Remove the files that were not used for the longest time, if all together are too large.

        Processes that are using one keep it until they need more of it.
        """
        lock = self.folder / "shrinking.lock"
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another process is doing it
                return
            except OSError as error:  # some network file systems have no locks; two may remove the same files
                log.debug("no lock on %s: %s", lock, error)
            found = []
            for entry in os.scandir(self.folder / "chunks"):
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat()
                    found.append((status.st_mtime_ns, status.st_blocks * 512, entry.path))
            total = sum(used for _, used, _ in found)
            if total <= self.max_bytes:
                return
            removed = 0
            for _, used, path in sorted(found):
                if total - removed <= self.max_bytes * _KEEP:
                    break
                Path(path).unlink(missing_ok=True)
                removed += used
            log.debug("%s: %.2f GB, %.2f GB of it removed", self.folder, total / 1e9, removed / 1e9)


class CachedShard:
    """One file of the cache.

    Attributes:
        data: the shard's bytes, mapped; zeros where nothing was fetched yet.

    Raises:
        StoreError: the folder cannot be written to.
    """

    def __init__(self, cache: ChunkCache, path: Path, *, size: int, n_chunks: int) -> None:
        self._cache, self.path = cache, path
        self._size, self._n_chunks = size, n_chunks
        self._table = -(-size // 8) * 8
        self._inode = -1
        with self._file() as descriptor:
            self._map(descriptor)

    def _map(self, descriptor: int) -> None:
        whole = self._table + 8 * self._n_chunks
        status = os.fstat(descriptor)
        if status.st_size < whole:
            os.ftruncate(descriptor, whole)
        os.utime(descriptor)
        self.data = mmap.mmap(descriptor, whole, access=mmap.ACCESS_READ)
        # Read-ahead by the kernel would fetch the holes too.
        self.data.madvise(mmap.MADV_RANDOM)
        self._checks = np.frombuffer(self.data, "<i8", count=self._n_chunks, offset=self._table)
        self._inode = status.st_ino

    @contextlib.contextmanager
    def _file(self) -> Iterator[int]:
        """The file, open to read and write; made when missing."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreError(
                f"the cache of remote chunks in {self._cache.folder} cannot be written to ({error.strerror}); set "
                f"{FOLDER_VARIABLE} to a folder on a local disk with room, or {SIZE_VARIABLE} to a smaller size"
            ) from error

    def has(self, chunk: int, offset: int, length: int) -> bool:
        """Whether a chunk is here and whole.

        Args:
            chunk: its number.
            offset: where its bytes begin in the shard.
            length: of its bytes.
        """
        check = int(self._checks[chunk])
        return bool(check) and check == _HERE | google_crc32c.value(self.data[offset : offset + length])

    def add(self, chunks: Sequence[int], offsets: Sequence[int], parts: Sequence[Any]) -> bool:
        """Keep the bytes of some chunks.

        Args:
            chunks: their numbers.
            offsets: where they begin in the shard.
            parts: their bytes.

        Returns:
            Whether `data` is a new map, because the file had been removed to make room: what was here is not any more.
        """
        with self._file() as descriptor:
            is_new = os.fstat(descriptor).st_ino != self._inode
            if is_new:
                self._map(descriptor)
            for chunk, offset, part in zip(chunks, offsets, parts, strict=True):
                content = bytes(part)
                _write(descriptor, content, offset)
                check = _HERE | google_crc32c.value(content)
                _write(descriptor, check.to_bytes(8, "little"), self._table + 8 * chunk)
            os.utime(descriptor)
        self._cache.wrote(sum(len(part) for part in parts))
        return is_new


def _write(descriptor: int, content: bytes, offset: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, content[done:], offset + done)


@functools.lru_cache
def shared_cache() -> ChunkCache:
    """The cache that the environment describes, one for each process."""
    return ChunkCache()


def neighbour(store: StoreLocation, name: str) -> Path:
    """A folder beside a store, for what is made from it and is not part of it; in the cache for one that is remote."""
    if isinstance(store, Path):
        return store.with_name(name)
    return cache_folder() / "beside" / hashlib.sha256(str(store).encode()).hexdigest()[:16] / name


def cache_folder() -> Path:
    """LUNGDET_CACHE, else `lungdet` in the user's folder for caches."""
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache")).expanduser() / "lungdet"
