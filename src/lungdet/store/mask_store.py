"""MaskStore: what readers outlined, on the grids of a CtStore and read in crops like it.

    <path>/scans/<series_uid>/zarr.json   group; attributes["lungdet"]: key, made_by
    <path>/scans/<series_uid>/readers     uint8 [D, H, W]: how many readers call a voxel nodule; one shard

It lies beside the CT store and not in it: the store of a collection does not change when its labels do.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zarr

from lungdet.errors import StoreError
from lungdet.store.crop_boxes import crop_overlap, crop_starts
from lungdet.store.reader import CtStore
from lungdet.store.shard import ShardReader
from lungdet.store.shard_writer import write_array
from lungdet.store.writer import PARTIAL_PREFIX, put_in_place

#: Stands where no reader drew and a rule made the mask.
BY_RULE = 255


class MaskStore:
    """Reader masks of the scans of one CT store. Forgets open files when it is pickled.

    Args:
        path: folder; made with the first scan.
        store: whose grids the masks lie on.
    """

    def __init__(self, path: Path | str, store: CtStore) -> None:
        self.path, self.store = Path(path), store
        self._arrays: dict[str, ShardReader] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "store": self.store, "_arrays": {}}

    def is_current(self, series_uid: str, *, key: str) -> bool:
        """Whether the masks of a scan were written with this key."""
        attributes = self._attributes(series_uid)
        return attributes is not None and attributes.get("key") == key

    def made_by(self, series_uid: str) -> str:
        """Who made the masks: "readers" or "rule".

        Raises:
            StoreError: no masks of that scan.
        """
        attributes = self._attributes(series_uid)
        if attributes is None:
            raise StoreError(f"{self.path} holds no nodule masks of series {series_uid}; prepare the data again")
        return attributes["made_by"]

    def write(self, series_uid: str, readers: npt.NDArray[np.uint8], *, key: str, made_by: str) -> None:
        """Store the masks of one scan; they appear whole or not at all.

        Args:
            series_uid: a scan of the CT store.
            readers: uint8 [D, H, W] on its grid.
            key: of everything they were made from.
            made_by: "readers" or "rule".

        Raises:
            StoreError: another shape than the scan's.
        """
        expected = self.store.geometry(series_uid).shape_zyx
        if readers.shape != expected:
            raise StoreError(f"masks of series {series_uid} have shape {readers.shape}, its volume {expected}")
        folder = self.path / "scans"
        partial = folder / f"{PARTIAL_PREFIX}{uuid.uuid4().hex}-{series_uid}"
        try:
            group = zarr.open_group(partial, mode="w", zarr_format=3)
            write_array(partial, "readers", readers, fill=0, codec="lz4")
            group.attrs["lungdet"] = {"key": key, "made_by": made_by}
            put_in_place(partial, folder / series_uid)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self._arrays.pop(series_uid, None)

    def volume(self, series_uid: str) -> npt.NDArray[np.uint8]:
        """The masks of a whole scan: uint8 [D, H, W]."""
        array = self._array(series_uid)
        out = np.empty(array.shape, np.uint8)
        array.read((0, 0, 0), out)
        return out

    def crops(
        self, series_uids: Sequence[str], centers_xyz_mm: npt.NDArray[np.float64], shape_zyx: Sequence[int]
    ) -> npt.NDArray[np.uint8]:
        """The boxes that `CtStore.crops` cuts for the same arguments: uint8 [N, d, h, w], 0 outside the volume."""
        shape = tuple(int(n) for n in shape_zyx)
        geometries = [self.store.geometry(uid) for uid in series_uids]
        starts = crop_starts(geometries, centers_xyz_mm, shape)
        out = np.zeros((len(geometries), *shape), np.uint8)
        for uid, geometry, start, crop in zip(series_uids, geometries, starts.tolist(), out, strict=True):
            low, box = crop_overlap(start, shape, geometry.shape_zyx)
            if crop[box].size:
                self._array(uid).read(low, crop[box])
        return out

    def _array(self, series_uid: str) -> ShardReader:
        if series_uid not in self._arrays:
            self.made_by(series_uid)  # says what is missing
            self._arrays[series_uid] = ShardReader(self.path / "scans" / series_uid / "readers")
        return self._arrays[series_uid]

    def _attributes(self, series_uid: str) -> dict[str, str] | None:
        try:
            text = (self.path / "scans" / series_uid / "zarr.json").read_text()
            attributes: dict[str, str] = json.loads(text)["attributes"]["lungdet"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return attributes
