"""CtStore: crops and volumes of preprocessed scans by series and world position. The hot path of training."""

from __future__ import annotations

import difflib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import StoreError
from lungdet.geometry import Geometry, world_to_index_each
from lungdet.store.marker import check_marker, read_marker
from lungdet.store.schema import StoreSpec
from lungdet.store.shard import ArrayReader, ShardReader

#: Open scans a process keeps: each is one memory map, and systems allow about a thousand files.
OPEN_SCANS = 256


@dataclass
class _OpenScan:
    geometry: Geometry
    content_hash: str
    folder: Path
    arrays: dict[str, ArrayReader]

    def array(self, name: str) -> ArrayReader:
        if name not in self.arrays:
            self.arrays[name] = ShardReader(self.folder / name)
        return self.arrays[name]


class CtStore:
    """Read access to a store.

    Opens files when they are first needed and forgets them when it is pickled, so one object serves any number of
    forked or spawned workers.

    Args:
        path: folder of the store.
        expect: settings that the store must have been made with; None takes any.
        command: what to type to make the store, for the error message.

    Raises:
        StoreError: no store there, no scans in it, or it was made with other settings.
    """

    def __init__(
        self, path: Path | str, *, expect: StoreSpec | None = None, command: str = "lungdet preprocess data=..."
    ) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise StoreError(f"no store at {self.path}; make it: {command}")
        if expect is not None:
            check_marker(self.path, expect, command=f"{command} overwrite=true")
        record = read_marker(self.path)
        self.fingerprint: str = record["fingerprint"]
        self.spec = StoreSpec.from_dict(record["spec"])
        folders = (p for p in (self.path / "scans").iterdir() if not p.name.startswith(".") and p.is_dir())
        self.series_uids: tuple[str, ...] = tuple(sorted(p.name for p in folders))
        if not self.series_uids:
            raise StoreError(f"{self.path} holds no scans yet; finish it: {command}")
        self._known = frozenset(self.series_uids)
        self._open: OrderedDict[str, _OpenScan] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Without open files: the process that unpickles opens its own."""
        return {**self.__dict__, "_open": OrderedDict()}

    def __contains__(self, series_uid: object) -> bool:
        return series_uid in self._known

    def __len__(self) -> int:
        return len(self.series_uids)

    def geometry(self, series_uid: str) -> Geometry:
        """Where the stored volume lies.

        Raises:
            StoreError: no such series.
        """
        return self._scan(series_uid).geometry

    def content_hash(self, series_uid: str) -> str:
        """SHA-256 of the stored HU, for finding the same scan under two names."""
        return self._scan(series_uid).content_hash

    def volume(self, series_uid: str) -> npt.NDArray[np.int16]:
        """The whole volume: int16 [D, H, W], HU."""
        return self._whole(series_uid, "hu", np.int16)

    def lung_mask(self, series_uid: str) -> npt.NDArray[np.uint8]:
        """The lung mask: uint8 [D, H, W], 0 outside.

        Raises:
            StoreError: the store was made without masks.
        """
        if not self.spec.lung_mask:
            raise StoreError(f"{self.path} holds no lung masks; preprocess with data.store.lung_mask=true")
        return self._whole(series_uid, "lung_mask", np.uint8)

    def crop(
        self, series_uid: str, center_xyz_mm: npt.ArrayLike, shape_zyx: Sequence[int]
    ) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.bool_]]:
        """A box around a world point.

        The voxel nearest to the point is element `shape // 2` on every axis, also at the border: what lies outside the
        volume is air, and the centre never moves.

        Args:
            series_uid: which scan.
            center_xyz_mm: x, y, z in mm; anywhere.
            shape_zyx: voxels along z, y, x.

        Returns:
            hu int16 `shape_zyx` and valid bool `shape_zyx`, False outside the volume.

        Raises:
            StoreError: no such series.
        """
        scan = self._scan(series_uid)
        shape = tuple(int(n) for n in shape_zyx)
        hu = np.full(shape, self.spec.air_hu, np.int16)
        valid = np.zeros(shape, bool)
        start = _starts([scan.geometry], np.reshape(center_xyz_mm, (1, 3)), shape)[0].tolist()
        low, box = _overlap(start, shape, scan.geometry.shape_zyx)
        part = hu[box]
        if part.size:
            array = scan.array("hu")
            array.announce(low, part.shape)
            array.read(low, part)
            valid[box] = True
        return hu, valid

    def crops(
        self,
        series_uids: Sequence[str],
        centers_xyz_mm: npt.ArrayLike,
        shape_zyx: Sequence[int],
        *,
        out: npt.NDArray[np.int16] | None = None,
    ) -> npt.NDArray[np.int16]:
        """Many boxes in one contiguous array, as `crop` gives them.

        Args:
            series_uids: N names, in any order, repeated as wanted.
            centers_xyz_mm: [N, 3].
            shape_zyx: voxels along z, y, x.
            out: int16 [N, d, h, w] to fill; made when None.

        Returns:
            int16 [N, d, h, w].
        """
        centers = np.asarray(centers_xyz_mm, np.float64).reshape(-1, 3)
        shape = tuple(int(n) for n in shape_zyx)
        scans = [self._scan(uid) for uid in series_uids]
        starts = _starts([scan.geometry for scan in scans], centers, shape)
        wholes = np.array([scan.geometry.shape_zyx for scan in scans]).reshape(-1, 3)
        inside = np.all((starts >= 0) & (starts + shape <= wholes), axis=1).tolist()
        if out is None:
            out = np.empty((len(scans), *shape), np.int16)
        waiting: list[tuple[ArrayReader, list[int], npt.NDArray[np.int16]]] = []
        for scan, start, crop, is_inside in zip(scans, starts.tolist(), out, inside, strict=True):
            if is_inside:
                waiting.append((scan.array("hu"), start, crop))
                continue
            crop[...] = self.spec.air_hu
            low, box = _overlap(start, shape, scan.geometry.shape_zyx)
            if crop[box].size:
                waiting.append((scan.array("hu"), low, crop[box]))
        # All are announced before the first is read, so that a disk works on the whole batch at once.
        for array, begin, part in waiting:
            array.announce(begin, part.shape)
        for array, begin, part in waiting:
            array.read(begin, part)
        return out

    def _whole(self, series_uid: str, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        array = self._scan(series_uid).array(name)
        out = np.empty(array.shape, dtype)
        array.announce((0, 0, 0), array.shape)
        array.read((0, 0, 0), out)
        return out

    def _scan(self, series_uid: str) -> _OpenScan:
        scan = self._open.get(series_uid)
        if scan is not None:
            self._open.move_to_end(series_uid)
            return scan
        if series_uid not in self._known:
            near = difflib.get_close_matches(str(series_uid), self.series_uids, n=1)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise StoreError(f"{self.path} holds no series '{series_uid}' among its {len(self)}{hint}")
        folder = self.path / "scans" / series_uid
        try:
            record = json.loads((folder / "zarr.json").read_text())["attributes"]["lungdet"]
            scan = _OpenScan(Geometry.from_dict(record["geometry"]), record["content_hash"], folder, {})
        except (OSError, ValueError, KeyError) as error:
            raise StoreError(f"{folder}: damaged ({error}); delete it and preprocess again") from error
        self._open[series_uid] = scan
        if len(self._open) > OPEN_SCANS:
            self._open.popitem(last=False)
        return scan


def _starts(
    geometries: Sequence[Geometry], centers_xyz_mm: npt.NDArray[Any], shape: Sequence[int]
) -> npt.NDArray[np.int64]:
    """Index of each crop's first voxel: int64 [N, 3], may be negative."""
    centers = np.rint(world_to_index_each(geometries, centers_xyz_mm)).astype(np.int64)
    starts: npt.NDArray[np.int64] = centers - np.asarray(shape) // 2
    return starts


def _overlap(
    start: Sequence[int], shape: Sequence[int], whole: Sequence[int]
) -> tuple[list[int], tuple[slice, slice, slice]]:
    """The part of a box that lies inside the volume: its first voxel there, and where in the box it goes.

    A box that lies outside altogether has an empty part.
    """
    low = [max(0, b) for b in start]
    z, y, x = (
        slice(first - b, max(first, min(n, b + m)) - b) for first, b, m, n in zip(low, start, shape, whole, strict=True)
    )
    return low, (z, y, x)
