"""One scan into the store: read, clip, resample, mask, write; the scan appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr

from lungdet.io.scan import Scan, read_scan
from lungdet.store.lung_mask import lung_mask
from lungdet.store.resample import resample_linear
from lungdet.store.schema import FORMAT_VERSION, StoreSpec
from lungdet.store.shard_writer import write_array

PARTIAL_PREFIX = ".partial-"


def write_scan(
    path: Path, store: Path, spec: StoreSpec, *, series_uid: str, read: Callable[[Path], Scan] = read_scan
) -> None:
    """Preprocess one scan and rename it into place.

    Args:
        path: what `read` reads.
        store: folder of the store.
        spec: how.
        series_uid: the name it gets in the store.
        read: reader of scans.

    Raises:
        ScanError: the file cannot be read; the store is left as it was.
    """
    # The processes of `preprocess` share the cores; threads inside them only wait for each other.
    cv2.setNumThreads(1)
    scan = read(path)
    low, high = spec.clip_hu
    clipped = np.clip(scan.hu, low, high, out=scan.hu)  # in place: a scan is a few hundred MB
    target = scan.geometry if isinstance(spec.spacing_mm, str) else scan.geometry.resampled(_three(spec.spacing_mm))
    hu = resample_linear(clipped, scan.geometry, target)
    partial = store / "scans" / f"{PARTIAL_PREFIX}{os.getpid()}-{series_uid}"
    shutil.rmtree(partial, ignore_errors=True)
    group = zarr.open_group(partial, mode="w", zarr_format=3)
    write_array(partial, "hu", hu, fill=low, codec=spec.codec)
    if spec.lung_mask:
        write_array(partial, "lung_mask", lung_mask(hu, target), fill=0, codec="lz4")
    group.attrs["lungdet"] = {
        "format": FORMAT_VERSION,
        "fingerprint": spec.fingerprint,
        "series_uid": series_uid,
        "geometry": target.to_dict(),
        "source": {"file": path.name, "bytes": _size(path), "geometry": scan.geometry.to_dict()},
        "content_hash": hashlib.sha256(hu.data).hexdigest(),
    }
    partial.rename(store / "scans" / series_uid)


def _three(values: Any) -> tuple[float, float, float]:
    z, y, x = values
    return (z, y, x)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.iterdir() if p.is_file())
