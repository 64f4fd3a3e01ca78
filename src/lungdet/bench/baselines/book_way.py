"""Crops as the seed book reads them: SimpleITK, the last scan kept in memory, crops kept on disk one file each.

Written from its description as a baseline; without diskcache's SQLite look-ups, so a little faster than the book.

Reference: Stevens, Antiga, Viehmann, "Deep Learning with PyTorch", Manning 2020, chapters 10 and 14.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

FloatArray = npt.NDArray[np.float32]

_CLIP_HU = (-1000, 1000)
_COMPRESSION_LEVEL = 1


class BookWay:
    """Crops float32 by series and point.

    Args:
        scans: series_uid -> .mhd file.
        folder: of the crops on disk.
        shape_zyx: voxels of a crop.
        compress: gzip the crops. The published code means to and does not: it compresses values of type bytes, and a
            crop is a tuple, which is pickled as it is.
    """

    def __init__(
        self, scans: Mapping[str, Path], folder: Path, *, shape_zyx: tuple[int, int, int], compress: bool
    ) -> None:
        self.scans, self.folder, self.shape_zyx, self.compress = scans, folder, shape_zyx, compress
        self.last_scan: Callable[[str], tuple[sitk.Image, FloatArray]] = functools.lru_cache(1)(self._read_scan)
        folder.mkdir(parents=True, exist_ok=True)

    def crop(self, series_uid: str, center_xyz_mm: Sequence[float]) -> FloatArray:
        """From disk, or cut and then put there: float32 `shape_zyx`; moved into the volume where it would reach out."""
        path = self.folder / f"{_name(series_uid, center_xyz_mm)}.pickle"
        if path.is_file():
            content = path.read_bytes()
            found: FloatArray = pickle.loads(gzip.decompress(content) if self.compress else content)[0]
            return found
        crop = self.cut(series_uid, center_xyz_mm)
        content = pickle.dumps((crop, tuple(center_xyz_mm)), pickle.HIGHEST_PROTOCOL)
        path.write_bytes(gzip.compress(content, _COMPRESSION_LEVEL) if self.compress else content)
        return crop

    def cut(self, series_uid: str, center_xyz_mm: Sequence[float]) -> FloatArray:
        """From the scan, which is read anew unless it was the last one."""
        image, hu = self.last_scan(series_uid)
        center = image.TransformPhysicalPointToContinuousIndex([float(c) for c in center_xyz_mm])[::-1]
        box = []
        for middle, size, whole in zip(center, self.shape_zyx, hu.shape, strict=True):
            start = min(max(0, round(middle - size / 2)), whole - size)
            box.append(slice(start, start + size))
        return hu[tuple(box)]

    def _read_scan(self, series_uid: str) -> tuple[sitk.Image, FloatArray]:
        image = sitk.ReadImage(str(self.scans[series_uid]))
        hu = np.array(sitk.GetArrayFromImage(image), dtype=np.float32)
        hu.clip(*_CLIP_HU, out=hu)
        return image, hu


def _name(series_uid: str, center_xyz_mm: Sequence[float]) -> str:
    return hashlib.md5(repr((series_uid, *center_xyz_mm)).encode(), usedforsecurity=False).hexdigest()
