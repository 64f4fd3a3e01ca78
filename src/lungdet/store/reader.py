"""CtStore: crops and volumes of preprocessed scans by series and world position. The hot path of training."""

from __future__ import annotations

import bisect
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lungdet.errors import MissingFileError, StoreError
from lungdet.geometry import Geometry
from lungdet.store.chunk_cache import ChunkCache, shared_cache
from lungdet.store.crop_boxes import crop_overlap, crop_starts, finite_points
from lungdet.store.location import ObjectFolder, StoreLocation, as_location
from lungdet.store.marker import check_marker, read_marker
from lungdet.store.object_client import each
from lungdet.store.open_arrays import ArrayKey, OpenArrays
from lungdet.store.pixel_hash import pixel_hash
from lungdet.store.read_ahead import DiskWatch
from lungdet.store.remote_shard import Fetches, RemoteShardReader
from lungdet.store.scan_record import DamagedScanError, ScanRecord, read_scan_record
from lungdet.store.schema import StoreSpec
from lungdet.store.series_list import stored_series
from lungdet.store.shard import ArrayReader, ShardReader

# Enough for a disk to work on, few enough to stay in memory until they are read.
_ANNOUNCED_TOGETHER = 64
# Over a network everything that is announced is kept on the local disk, and a round of requests takes long.
_FETCHED_TOGETHER = 256
# Records of scans in an object store that are asked for together with one that is needed, in the order of their names.
_RECORDS_AHEAD = 64


class _Box(NamedTuple):
    array: ArrayReader
    start: list[int]
    out: npt.NDArray[Any]


class CtStore:
    """Read access to a store.

    Opens files when they are first needed and forgets them when it is pickled, so one object serves any number of
    forked or spawned workers. One in an object store (docs/object_stores.md) cannot be used after a fork.

    Args:
        path: folder of the store, or its address in an object store.
        expect: settings that the store must have been made with; None takes any.
        command: what to type to make the store, for the error message.
        cache: where chunks from an object store are kept; None takes the one that the environment describes.

    Raises:
        StoreError: no store there, no scans in it, or it was made with other settings; or its server says no.
    """

    def __init__(
        self,
        path: Path | str | ObjectFolder,
        *,
        expect: StoreSpec | None = None,
        command: str = "lungdet preprocess data=...",
        cache: ChunkCache | None = None,
    ) -> None:
        self.path, self._cache = as_location(path), cache
        try:
            record = (
                read_marker(self.path)
                if expect is None
                else check_marker(self.path, expect, command=f"{command} overwrite=true")
            )
        except MissingFileError as error:
            raise StoreError(f"no store at {self.path}; make it: {command}") from error
        self.fingerprint: str = record["fingerprint"]
        self.spec = StoreSpec.from_dict(record["spec"])
        self.series_uids: tuple[str, ...] = stored_series(self.path)
        if not self.series_uids:
            raise StoreError(f"{self.path} holds no scans yet; finish it: {command}")
        self._known = frozenset(self.series_uids)
        self._forget()

    def _forget(self) -> None:
        self._records: dict[str, ScanRecord] = {}
        self._arrays = OpenArrays()
        self._watch = DiskWatch()
        self._fetches = Fetches()

    def __getstate__(self) -> dict[str, Any]:
        """Without open files: the process that unpickles opens its own."""
        opened = ("_records", "_arrays", "_watch", "_fetches")
        return {name: value for name, value in self.__dict__.items() if name not in opened}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __contains__(self, series_uid: object) -> bool:
        return series_uid in self._known

    def __len__(self) -> int:
        return len(self.series_uids)

    def geometry(self, series_uid: str) -> Geometry:
        """Where the stored volume lies.

        Raises:
            StoreError: no such series.
        """
        return self._record(series_uid).geometry

    def source_geometry(self, series_uid: str) -> Geometry:
        """Where the voxels of the scan lay before resampling.

        Raises:
            StoreError: no such series.
        """
        return self._record(series_uid).source_geometry

    def content_hash(self, series_uid: str) -> str:
        """SHA-256 of the stored HU, as a key of what is made from them."""
        return self._record(series_uid).content_hash

    def pixel_hashes(self, series_uids: Sequence[str]) -> dict[str, str]:
        """Series UID -> pixel hash, for finding the same scan under two names; read from metadata, no voxel is.

        Raises:
            StoreError: no such series.
        """
        self._fetch_records(series_uids)
        records = {uid: self._record(uid) for uid in series_uids}
        return {uid: pixel_hash(record.content_hash, record.geometry.shape_zyx) for uid, record in records.items()}

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
        geometry = self._record(series_uid).geometry
        shape = tuple(int(n) for n in shape_zyx)
        hu = np.full(shape, self.spec.air_hu, np.int16)
        valid = np.zeros(shape, bool)
        start = crop_starts([geometry], finite_points(center_xyz_mm), shape)[0].tolist()
        low, box = crop_overlap(start, shape, geometry.shape_zyx)
        if hu[box].size:
            self._read([_Box(self._array(series_uid, "hu"), low, hu[box])])
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
        shape = tuple(int(n) for n in shape_zyx)
        if isinstance(self.path, ObjectFolder):
            self._open_together(series_uids)
        geometries = [self._record(uid).geometry for uid in series_uids]
        starts = crop_starts(geometries, finite_points(centers_xyz_mm), shape)
        wholes = np.array([geometry.shape_zyx for geometry in geometries]).reshape(-1, 3)
        inside = np.all((starts >= 0) & (starts + shape <= wholes), axis=1).tolist()
        if out is None:
            out = np.empty((len(geometries), *shape), np.int16)
        boxes: list[_Box] = []
        for n, (uid, start, crop) in enumerate(zip(series_uids, starts.tolist(), out, strict=True)):
            if len(boxes) >= self._arrays.at_once:
                self._read(boxes)
                boxes = []
            if inside[n]:
                boxes.append(_Box(self._array(uid, "hu"), start, crop))
                continue
            crop[...] = self.spec.air_hu
            low, box = crop_overlap(start, shape, geometries[n].shape_zyx)
            if crop[box].size:
                boxes.append(_Box(self._array(uid, "hu"), low, crop[box]))
        self._read(boxes)
        return out

    def _read(self, boxes: list[_Box]) -> None:
        """Fill the boxes; those after one that had to wait for the disk are announced, many at once."""
        if isinstance(self.path, ObjectFolder):
            for first in range(0, len(boxes), _FETCHED_TOGETHER):
                some = boxes[first : first + _FETCHED_TOGETHER]
                for box in some:
                    box.array.announce(box.start, box.out.shape)
                for box in some:
                    box.array.read(box.start, box.out)
            return
        done = 0
        self._watch.begin()
        while done < len(boxes):
            if not self._watch.should_announce():
                box = boxes[done]
                box.array.read(box.start, box.out)
                self._watch.was_read()
                done += 1
                continue
            some = boxes[done : done + _ANNOUNCED_TOGETHER]
            for box in some:
                box.array.announce(box.start, box.out.shape)
            for box in some:
                box.array.read(box.start, box.out)
            self._watch.announced(len(some))
            self._watch.begin()
            done += len(some)

    def _whole(self, series_uid: str, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        self._record(series_uid)  # refuses a scan of other settings, as for crops
        array = self._array(series_uid, name)
        out = np.empty(array.shape, dtype)
        array.announce((0, 0, 0), array.shape)
        array.read((0, 0, 0), out)
        return out

    def _array(self, series_uid: str, name: str) -> ArrayReader:
        key = (series_uid, name)
        array = self._arrays.get(key)
        if array is None:
            array = self._open(key)
            self._arrays.keep(key, array)
        return array

    def _open(self, key: ArrayKey) -> ArrayReader:
        series_uid, name = key
        folder = self._folder(series_uid)
        if isinstance(folder, Path):
            return ShardReader(folder / name)
        return RemoteShardReader(folder / name, cache=self._cache or shared_cache(), fetches=self._fetches)

    def _open_together(self, series_uids: Sequence[str]) -> None:
        """Ask for what is not known yet of these scans, all at once: a request takes long whatever it asks for."""
        self._fetch_records(series_uids)
        keys = [(uid, "hu") for uid in dict.fromkeys(series_uids)]
        unopened = [key for key in keys if key not in self._arrays]
        for key, array in zip(unopened, each(self._open, unopened), strict=True):
            self._arrays.keep(key, array)

    def _fetch_records(self, series_uids: Sequence[str]) -> None:
        """Ask for the records of scans in an object store, all at once."""
        if isinstance(self.path, ObjectFolder):
            unknown = [uid for uid in dict.fromkeys(series_uids) if uid not in self._records]
            found = zip(unknown, each(self._sound_record, unknown), strict=True)
            self._records.update({uid: record for uid, record in found if record is not None})

    def _folder(self, series_uid: str) -> StoreLocation:
        if series_uid not in self._known:
            near = difflib.get_close_matches(str(series_uid), self.series_uids, n=1)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise StoreError(f"{self.path} holds no series '{series_uid}' among its {len(self)}{hint}")
        return self.path / "scans" / series_uid

    def _record(self, series_uid: str) -> ScanRecord:
        record = self._records.get(series_uid)
        if record is None:
            self._folder(series_uid)  # refuses an unknown name
            if isinstance(self.path, ObjectFolder):
                place = bisect.bisect_left(self.series_uids, series_uid)
                self._fetch_records(self.series_uids[place : place + _RECORDS_AHEAD])
                record = self._records.get(series_uid)
            if record is None:
                record = self._records[series_uid] = self._read_record(series_uid)
        return record

    def _read_record(self, series_uid: str) -> ScanRecord:
        return read_scan_record(self._folder(series_uid), fingerprint=self.fingerprint)

    def _sound_record(self, series_uid: str) -> ScanRecord | None:
        try:
            return self._read_record(series_uid)
        except DamagedScanError:  # told when this scan is asked for; its neighbours are well
            return None
