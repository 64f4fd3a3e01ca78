"""The same scans as .npy files and as stores of every codec, and random crops of them: what readers are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from lungdet.bench.drawn.scans import Collection, scans_for
from lungdet.errors import StoreError
from lungdet.geometry import Geometry
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

CROP_ZYX = (32, 48, 48)
CODECS: tuple[Literal["none", "lz4", "zstd"], ...] = ("none", "lz4", "zstd")
QUICK = Collection(6, (200, 320, 320), (0.8, 0.8, 1.2))
FULL = Collection(10, (300, 400, 400), (0.7, 0.7, 1.0))


@dataclass(frozen=True)
class Volumes:
    """One collection on disk, in every form.

    Attributes:
        npy: series_uid -> .npy file of the clipped HU.
        stores: codec -> store of native spacing.
        geometries: series_uid -> grid.
    """

    npy: dict[str, Path]
    stores: dict[str, Path]
    geometries: dict[str, Geometry]

    @property
    def files(self) -> list[Path]:
        """Every file that holds voxels."""
        return [*self.npy.values(), *(shard for store in self.stores.values() for shard in store.rglob("c/0/0/0"))]


@dataclass(frozen=True)
class CropList:
    """Crops to read: series and centre in mm as a training loop has them, and the first voxel for readers of arrays."""

    series_uids: list[str]
    center_xyz_mm: npt.NDArray[np.float64]
    start_zyx: list[list[int]]

    def __len__(self) -> int:
        return len(self.series_uids)

    def first(self, count: int) -> CropList:
        """The first of them."""
        return CropList(self.series_uids[:count], self.center_xyz_mm[:count], self.start_zyx[:count])


def prepare(folder: Path, collection: Collection) -> Volumes:
    """Draw the scans and store them in every form; what an earlier benchmark left in `folder` is used again.

    Raises:
        StoreError: the scans could not be stored.
    """
    paths = scans_for(folder, collection)
    stores: dict[str, Path] = {}
    for codec in CODECS:
        stores[codec] = folder / f"{codec}.zarr"
        report = preprocess(
            paths, stores[codec], StoreSpec(spacing_mm="native", lung_mask=False, codec=codec), workers=1
        )
        if report.failed:
            raise StoreError(f"the benchmark's own scans failed: {report.failed}")
    store = CtStore(stores["none"])
    npy = {uid: folder / f"{uid}.npy" for uid in store.series_uids}
    for uid, path in npy.items():
        if not path.exists():
            np.save(path, store.volume(uid))
    return Volumes(npy, stores, {uid: store.geometry(uid) for uid in store.series_uids})


def draw_crops(volumes: Volumes, count: int, *, seed: int) -> CropList:
    """Centres anywhere in randomly chosen scans, so that some crops reach over the border."""
    rng = np.random.default_rng(seed)
    uids = list(volumes.geometries)
    chosen = [uids[n] for n in rng.integers(0, len(uids), count)]
    index = [np.floor(rng.uniform(0, volumes.geometries[uid].shape_zyx)) for uid in chosen]
    centers = [volumes.geometries[uid].index_to_world(i) for uid, i in zip(chosen, index, strict=True)]
    starts = [(i.astype(int) - np.asarray(CROP_ZYX) // 2).tolist() for i in index]
    return CropList(chosen, np.asarray(centers), starts)
