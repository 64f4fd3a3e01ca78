"""Training crops kept on disk as they are cut, so that later epochs and later runs read them instead of the scans.

`data.crop_cache=<folder>`: worth it where scans are compressed or the disk is slow, and the crops that are drawn (all
positives and the negatives of some epochs) are few beside the collection. What is read is what the store would give.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError
from lungdet.store.crop_array import CropArray, Keys, record_bytes
from lungdet.store.crop_boxes import crop_starts
from lungdet.store.reader import CtStore

log = logging.getLogger(__name__)


def check_limit(limit_gb: float) -> None:
    """Refuse a cache that can hold nothing.

    Raises:
        ConfigError: a limit that is not positive.
    """
    if not limit_gb > 0:
        raise ConfigError([f"data.crop_cache_gb={limit_gb:g} must be > 0; type data.crop_cache_gb=20"])


class CropCachedStore(CtStore):
    """A store whose `crops` are kept in a folder that any number of runs and processes share.

    A crop is found by SHA-256 and shape of its scan's voxels and by its first voxel, whatever table named it; an array
    holds crops of one shape from stores of one fingerprint. Nothing is ever evicted: a full cache goes on serving what
    it has. Whatever goes wrong with the cache, the crops come from the scans.

    Args:
        store: where crops are cut from; its open files are not shared.
        folder: of the cache, best on a local disk.
        limit_gb: 10^9 bytes that an array may take.
    """

    def __init__(self, store: CtStore, *, folder: Path | str, limit_gb: float) -> None:
        check_limit(limit_gb)
        self.cache_folder, self.limit_gb = Path(folder), float(limit_gb)
        self.__setstate__(store.__getstate__())

    def _forget(self) -> None:
        super()._forget()
        self._crop_arrays: dict[tuple[int, ...], CropArray] = {}
        self._keeps_crops = True

    def __getstate__(self) -> dict[str, Any]:
        """Without open files, as the store."""
        return {
            name: value
            for name, value in super().__getstate__().items()
            if name not in ("_crop_arrays", "_keeps_crops")
        }

    def crops(
        self,
        series_uids: Sequence[str],
        centers_xyz_mm: npt.ArrayLike,
        shape_zyx: Sequence[int],
        *,
        out: npt.NDArray[np.int16] | None = None,
    ) -> npt.NDArray[np.int16]:
        """As `CtStore.crops`: from the cache what is there, the rest from the scans and into the cache."""
        z, y, x = (int(n) for n in shape_zyx)
        centers = np.asarray(centers_xyz_mm, np.float64).reshape(-1, 3)
        if out is None:
            out = np.empty((len(centers), z, y, x), np.int16)
        if not (out.flags.c_contiguous and np.isfinite(centers).all()):
            return super().crops(series_uids, centers, (z, y, x), out=out)  # which says what is wrong with a centre
        cache = self._crop_array((z, y, x))
        keys = self._crop_keys(series_uids, centers, (z, y, x))
        slots = cache.find(keys)
        there = np.flatnonzero(slots >= 0)
        missing = slots < 0
        missing[there] = ~cache.read(slots[there], out, there)
        if missing.all():
            self._add_crops(cache, keys, super().crops(series_uids, centers, (z, y, x), out=out))
        elif missing.any():
            places = np.flatnonzero(missing)
            cut = super().crops([series_uids[n] for n in places.tolist()], centers[places], (z, y, x))
            out[places] = cut
            self._add_crops(cache, keys[places], cut)
        return out

    def _crop_array(self, shape_zyx: tuple[int, int, int]) -> CropArray:
        cache = self._crop_arrays.get(shape_zyx)
        if cache is None:
            name = f"{self.fingerprint}-{'x'.join(map(str, shape_zyx))}"
            most = int(self.limit_gb * 1e9) // record_bytes(shape_zyx)
            cache = CropArray(self.cache_folder / name, shape_zyx, fill=self.spec.air_hu, most=most)
            self._crop_arrays[shape_zyx] = cache
        return cache

    def _crop_keys(
        self, series_uids: Sequence[str], centers: npt.NDArray[np.float64], shape: tuple[int, int, int]
    ) -> Keys:
        """For each crop what decides its voxels, shape and settings of the store aside: uint64 [n, 2]."""
        self._fetch_records(series_uids)
        geometries = [self.geometry(uid) for uid in series_uids]
        wholes = np.array([geometry.shape_zyx for geometry in geometries]).reshape(-1, 3)
        places = np.hstack([wholes, crop_starts(geometries, centers, shape)]).astype("<i8")
        digests = (
            hashlib.blake2b(place.tobytes(), digest_size=16, key=bytes.fromhex(self.content_hash(uid))).digest()
            for uid, place in zip(series_uids, places, strict=True)
        )
        return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)

    def _add_crops(self, cache: CropArray, keys: Keys, crops: npt.NDArray[np.int16]) -> None:
        """Add crops, as long as there is room; a cache that cannot be written to is only read from then on."""
        if not self._keeps_crops:
            return
        try:
            if cache.add(keys, crops):
                return
            log.warning(
                "data.crop_cache: %s is full with %d crops (data.crop_cache_gb=%g); others are cut anew each time",
                cache.folder,
                len(cache),
                self.limit_gb,
            )
        except OSError as error:
            log.warning("data.crop_cache: crops are not kept any more, %s: %s", cache.folder, error)
        self._keeps_crops = False
