"""Crops of one shape on disk, found by their keys: a zarr v3 array [N, d, h, w] that any number of processes fill.

One chunk a crop, uncompressed, 1,000 a shard, so that a crop is one read of adjacent bytes. `keys` lists 16 bytes for
each crop and is written last: what a killed process leaves behind is not listed, and is overwritten.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

PER_SHARD = 1000
_CHECKSUM_BYTES = 4
_KEY_BYTES = 16
# New keys are looked up in a dict until there are so many; sorting 136,000 (20 GB of crops) takes 10 ms.
_UNSORTED = 4096
# A read with this flag gives up at once where the disk would have to be asked (Linux): crops in memory are read without
# announcing them first, which takes as long as half a crop.
_IF_CACHED = getattr(os, "RWF_NOWAIT", 0)

Keys = npt.NDArray[np.uint64]
Slots = npt.NDArray[np.int64]
Crops = npt.NDArray[np.int16]


def record_bytes(shape_zyx: tuple[int, int, int]) -> int:
    """What one crop takes on disk, its checksum included."""
    return 2 * int(np.prod(shape_zyx)) + _CHECKSUM_BYTES


class CropArray:
    """Looks up, reads and adds crops. One object serves one process; another opens its own.

    Args:
        folder: of the array; made by the first `add`.
        shape_zyx: voxels of a crop.
        fill: value of the places that are not filled yet, for other readers.
        most: crops that the array may hold.
    """

    def __init__(self, folder: Path, shape_zyx: tuple[int, int, int], *, fill: int, most: int) -> None:
        self.folder, self.shape_zyx, self.fill, self.most = folder, shape_zyx, fill, most
        self._record_bytes = record_bytes(shape_zyx)
        self._files: dict[int, int] = {}
        self._forget()

    def _forget(self) -> None:
        """Know nothing, as at first."""
        self._close()
        # The descriptor of `keys` is kept: as long as it is open, no other file can be taken for it.
        self._list: int | None = None
        self._keys: Keys = np.empty((0, 2), np.uint64)
        self._sorted: Keys = np.empty(0, np.uint64)
        self._order: Slots = np.empty(0, np.int64)
        self._unsorted: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __del__(self) -> None:
        self._close()

    def _close(self) -> None:
        for descriptor in (*self._files.values(), getattr(self, "_list", None)):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._files = {}

    def find(self, keys: Keys) -> Slots:
        """Where these crops are: int64 [n], -1 for those that nobody has added.

        Args:
            keys: uint64 [n, 2].
        """
        slots = self._find(keys)
        if (slots < 0).any() and self._load():
            slots = self._find(keys)
        return slots

    def read(self, slots: Slots, out: Crops, places: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Put the crop of each slot into its place of `out`.

        Args:
            slots: int64 [n], >= 0.
            out: int16 [m, d, h, w], contiguous.
            places: int64 [n], index into `out`.

        Returns:
            bool [n], False for crops that are damaged (a machine that lost power, a full disk): read them elsewhere.
        """
        sound = np.zeros(len(slots), bool)
        waiting = []
        for n, (slot, place) in enumerate(zip(slots.tolist(), places.tolist(), strict=True)):
            state = self._read(slot, out[place], flags=_IF_CACHED)
            sound[n] = state is True
            if state is None:
                waiting.append((n, slot, place))
        if hasattr(os, "posix_fadvise"):
            for _, slot, _ in waiting:  # all at once: a disk works on many requests
                shard, offset = self._whereabouts(slot)
                if (descriptor := self._file(shard)) is not None:
                    os.posix_fadvise(descriptor, offset, self._record_bytes, os.POSIX_FADV_WILLNEED)
        for n, slot, place in waiting:
            sound[n] = self._read(slot, out[place], flags=0) is True
        return sound

    def _read(self, slot: int, crop: Crops, *, flags: int) -> bool | None:
        """Fill `crop`; False where it is damaged, None where there is no file or not all of it is in memory."""
        shard, offset = self._whereabouts(slot)
        descriptor = self._file(shard)
        if descriptor is None:
            return None
        checksum = bytearray(_CHECKSUM_BYTES)
        try:
            length = os.preadv(descriptor, [crop.data.cast("B"), checksum], offset, flags)
        except OSError:
            return None
        if length < self._record_bytes:
            return None
        return bool(google_crc32c.value(crop) == int.from_bytes(checksum, "little"))

    def add(self, keys: Keys, crops: Crops) -> bool:
        """Add those crops that are not there; those that are there and damaged are written again.

        Args:
            keys: uint64 [n, 2].
            crops: int16 [n, d, h, w], contiguous.

        Returns:
            False if the array is full and some were left out.

        Raises:
            OSError: the folder cannot be written to or locked, or the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._load()
            slots = self._find(keys)
            for place in np.flatnonzero(slots >= 0).tolist():
                self._write(int(slots[place]), crops[place])
            new = np.flatnonzero(slots < 0)
            new = new[np.sort(np.unique(keys[new], axis=0, return_index=True)[1])]
            room = max(0, self.most - len(self))
            self._append(keys[new[:room]], crops[new[:room]])
            return len(new) <= room

    def _append(self, keys: Keys, crops: Crops) -> None:
        first = len(self)
        for n, crop in enumerate(crops):
            if (first + n) % PER_SHARD == 0:
                self._make_shard((first + n) // PER_SHARD)
            self._write(first + n, crop)
        # A process that was killed here may have left part of a key.
        with (self.folder / "keys").open("r+b" if first else "wb") as file:
            file.truncate(first * _KEY_BYTES)
            file.seek(0, os.SEEK_END)
            file.write(np.ascontiguousarray(keys, "<u8").tobytes())
        self._load()

    def _find(self, keys: Keys) -> Slots:
        slots = np.full(len(keys), -1, np.int64)
        if len(self._sorted):
            place = np.minimum(np.searchsorted(self._sorted, keys[:, 0]), len(self._sorted) - 1)
            found = self._order[place]
            same = (self._keys[found] == keys).all(axis=1)
            slots[same] = found[same]
        if self._unsorted:
            for n in np.flatnonzero(slots < 0).tolist():
                slots[n] = self._unsorted.get(keys[n].tobytes(), -1)
        return slots

    def _load(self) -> bool:
        """Take over what other processes have added; whether anything is different now."""
        is_another = self._list is not None and not self._is_the_same()
        if is_another:
            self._forget()
        known = len(self)
        try:
            if self._list is None:
                self._list = os.open(self.folder / "keys", os.O_RDONLY)
            count = os.fstat(self._list).st_size // _KEY_BYTES
            if count <= known:
                return is_another
            content = os.pread(self._list, (count - known) * _KEY_BYTES, known * _KEY_BYTES)
        except OSError:  # not made yet, or not to be read
            return is_another
        new = np.frombuffer(content, "<u8").reshape(-1, 2)
        self._keys = np.concatenate([self._keys, new])
        if count - len(self._sorted) > _UNSORTED:
            self._order = np.argsort(self._keys[:, 0], kind="stable")
            self._sorted = self._keys[self._order, 0]
            self._unsorted = {}
        else:
            self._unsorted |= {key.tobytes(): known + n for n, key in enumerate(new)}
        return True

    def _is_the_same(self) -> bool:
        """Whether the array in the folder is still the one whose keys are known here.

        Somebody may delete a cache to make room, and another process begin it anew: then a slot holds another crop.
        """
        try:
            return self._list is not None and os.path.samestat(os.fstat(self._list), (self.folder / "keys").stat())
        except OSError:
            return False

    def _whereabouts(self, slot: int) -> tuple[int, int]:
        """Shard and first byte of a crop."""
        shard, n = divmod(slot, PER_SHARD)
        return shard, n * self._record_bytes

    def _file(self, shard: int) -> int | None:
        """Descriptor of a shard's file; None where there is none, or one of another array."""
        if shard not in self._files:
            try:
                descriptor = os.open(self._shard_path(shard), os.O_RDONLY)
            except OSError:
                return None
            if not self._is_the_same():
                os.close(descriptor)
                return None
            if hasattr(os, "posix_fadvise"):  # the kernel's read-ahead would fetch crops that nobody asked for
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            self._files[shard] = descriptor
        return self._files[shard]

    def _shard_path(self, shard: int) -> Path:
        return self.folder / "c" / str(shard) / "0" / "0" / "0"

    def _write(self, slot: int, crop: Crops) -> None:
        """The bytes of a crop and its entry in the index of the shard."""
        shard, offset = self._whereabouts(slot)
        entry = PER_SHARD * self._record_bytes + 16 * (slot % PER_SHARD)
        stored = np.ascontiguousarray(crop, "<i2")
        checksum = google_crc32c.value(stored).to_bytes(_CHECKSUM_BYTES, "little")
        with self._shard_path(shard).open("r+b", buffering=0) as file:
            written = os.pwritev(file.fileno(), [stored.data, checksum], offset)
            if written < self._record_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
            os.pwrite(file.fileno(), np.array([offset, written], "<u8").tobytes(), entry)

    def _make_shard(self, shard: int) -> None:
        """An empty shard, and the array's metadata with room for it."""
        path = self._shard_path(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(PER_SHARD * self._record_bytes)
            file.seek(0, os.SEEK_END)
            file.write(b"\xff" * (16 * PER_SHARD))
        partial = self.folder / "zarr.json.partial"
        partial.write_text(json.dumps(self._metadata(shards=shard + 1), indent=2), encoding="utf-8")
        partial.replace(self.folder / "zarr.json")

    def _metadata(self, *, shards: int) -> dict[str, Any]:
        """The zarr.json of the array."""
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        sharding = {
            "chunk_shape": [1, *self.shape_zyx],
            "codecs": [little, {"name": "crc32c"}],
            "index_codecs": [little],  # no checksum over entries that are written one by one
            "index_location": "end",
        }
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [shards * PER_SHARD, *self.shape_zyx],
            "data_type": "int16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [PER_SHARD, *self.shape_zyx]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": self.fill,
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "attributes": {},
        }

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the array's lock, which ends with this process, however that ends."""
        with (self.folder / ".writing.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
