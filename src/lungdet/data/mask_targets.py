"""Where the masks of a segmentation come from: readers who drew them, else the seed book's rule from annotations.

The rule (Stevens, Antiga, Viehmann 2020, chapter 13): from a nodule's centre grow along each axis while the tissue on
both sides is denser than -700 HU; of the box that this gives, the voxels above -700 HU are the nodule.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import ConfigError, LungdetError, MissingFileError, ScanError
from lungdet.io.lidc import LidcScan, find_database, read_lidc_marks, read_lidc_scans
from lungdet.io.lidc_nodules import reader_counts
from lungdet.io.luna16 import Luna16
from lungdet.io.scan import read_scan
from lungdet.store.chunk_cache import neighbour
from lungdet.store.given_mask import read_given_mask
from lungdet.store.mask_store import BY_RULE, MaskStore
from lungdet.store.reader import CtStore
from lungdet.store.resample import resample_nearest

logger = logging.getLogger(__name__)

Targets = Literal["auto", "readers", "rule"]

TISSUE_HU = -700
# The book starts with a box of five voxels and grows it.
_FIRST_RADIUS = 2
_CENTERS = ["center_x_mm", "center_y_mm", "center_z_mm"]
_SAY_EVERY_S = 10.0


def box_rule_mask(hu: npt.NDArray[np.int16], centers_zyx: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The book's masks of the nodules of one scan, without its wrap to the other side of the volume.

    Args:
        hu: int16 [D, H, W].
        centers_zyx: int64 [N, 3], voxels inside the volume.

    Returns:
        bool [D, H, W].
    """
    mask = np.zeros(hu.shape, np.bool_)
    for center in centers_zyx:
        low, high = [], []
        for axis in range(3):
            line = hu[tuple(slice(None) if a == axis else int(center[a]) for a in range(3))] > TISSUE_HU
            radius = _grown_radius(line, int(center[axis]))
            low.append(max(0, int(center[axis]) - radius))
            high.append(int(center[axis]) + radius + 1)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        mask[box] = True
    return mask & (hu > TISSUE_HU)


def _grown_radius(tissue: npt.NDArray[np.bool_], center: int) -> int:
    """How far both sides of a line stay tissue; the border of the volume ends it."""
    radius, room = _FIRST_RADIUS, min(center, len(tissue) - 1 - center)
    while radius <= room and tissue[center - radius] and tissue[center + radius]:
        radius += 1
    # Stopped by the border and not by air: the last radius inside counts, as in the book.
    return min(radius, room)


class MaskTargets:
    """Writes the reader masks of a collection into a MaskStore.

    For each scan: `masks/<series_uid>.mhd` in the collection's folder (per voxel the number of readers; the phantom
    writes it), else the outlines of LIDC's readers where `lungdet[lidc]` is installed, else the book's rule.

    Args:
        targets: "auto" as above, "readers" refuses scans without readers, "rule" always takes the rule.

    Raises:
        ConfigError: another word.
    """

    def __init__(self, *, targets: Targets = "auto") -> None:
        if targets not in get_args(Targets):
            raise ConfigError([f"data.samples.targets={targets!r}: allowed are {', '.join(get_args(Targets))}"])
        self.targets = targets

    def store_of(self, store: CtStore) -> MaskStore:
        """The mask store that belongs to a CT store: its neighbour, named by what decides the content.

        That of a store in an object store lies in the local cache: each machine makes its own.
        """
        name = f"{store.path.name.removesuffix('.zarr')}_nodules_{self.targets}.zarr"
        return MaskStore(neighbour(store.path, name), store)

    def write(self, collection: Luna16, *, store: CtStore) -> None:
        """Write what is missing or was made from other files; interrupt it whenever you like.

        Raises:
            ScanError: `targets` is "readers" and a scan with nodules has none, or a mask that is not of its scan.
        """
        masks = self.store_of(store)
        uids = [uid for uid in store.series_uids if uid in collection.scan_paths]
        keys = {uid: self._key(uid, collection, store=store) for uid in uids}
        missing = [uid for uid in uids if not masks.is_current(uid, key=keys[uid])]
        if not missing:
            return
        marks = self._lidc_marks(missing)
        started = said = time.perf_counter()
        for done, uid in enumerate(missing, start=1):
            readers, made_by = self._readers(uid, collection, store=store, marks=marks)
            masks.write(uid, readers, key=keys[uid], made_by=made_by)
            now = time.perf_counter()
            if now - said > _SAY_EVERY_S or done == len(missing):
                said = now
                rate = 60 * done / (now - started)
                logger.info("nodule masks: %d of %d scans, %.0f scans/min", done, len(missing), rate)

    def _readers(
        self, uid: str, collection: Luna16, *, store: CtStore, marks: Mapping[str, LidcScan]
    ) -> tuple[npt.NDArray[np.uint8], str]:
        grid, source = store.geometry(uid), store.source_geometry(uid)
        path = _mask_path(collection.root, uid)
        if self.targets != "rule" and path is not None:
            return read_given_mask(path, source, grid, read=read_scan), "readers"
        if uid in marks:
            try:
                return resample_nearest(reader_counts(marks[uid], source), source, grid), "readers"
            except ScanError as error:
                if self.targets == "readers":
                    raise
                logger.warning("%s: %s; its masks follow from the annotations", uid, error)
        nodules = _nodules(collection, uid)
        if self.targets == "readers" and len(nodules):
            raise ScanError(
                f"series {uid} has {len(nodules)} annotated nodules and nobody's outlines: put masks/{uid}.mhd into "
                f"{collection.root}, install lungdet[lidc], or type data.samples.targets=auto"
            )
        if nodules.empty:
            return np.zeros(grid.shape_zyx, np.uint8), "rule"
        index = np.rint(grid.world_to_index(nodules[_CENTERS].to_numpy(np.float64))).astype(np.int64)
        index = index.clip(0, np.asarray(grid.shape_zyx) - 1)
        return box_rule_mask(store.volume(uid), index).astype(np.uint8) * BY_RULE, "rule"

    def _lidc_marks(self, uids: list[str]) -> Mapping[str, LidcScan]:
        if self.targets == "rule":
            return {}
        try:
            database = find_database()
            known = set(read_lidc_scans(database)["series_uid"]) & set(uids)
            return read_lidc_marks(database, series_uids=known) if known else {}
        except MissingFileError:
            return {}
        except LungdetError as error:
            logger.warning("LIDC's reader outlines are not used: %s", error)
            return {}

    def _key(self, uid: str, collection: Luna16, *, store: CtStore) -> str:
        """Of everything that decides the masks of a scan."""
        path = _mask_path(collection.root, uid)
        nodules = _nodules(collection, uid)
        record = {
            "volume": store.content_hash(uid),
            "grid": store.geometry(uid).to_dict(),
            "nodules": nodules[[*_CENTERS, "diameter_mm"]].to_numpy().tolist(),
            "mask": None if path is None else [path.name, path.stat().st_mtime_ns],
            "targets": self.targets,
        }
        return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def _mask_path(root: Path, uid: str) -> Path | None:
    path = root / "masks" / f"{uid}.mhd"
    return path if path.is_file() else None


def _nodules(collection: Luna16, uid: str) -> pd.DataFrame:
    return collection.annotations[collection.annotations["series_uid"] == uid]
