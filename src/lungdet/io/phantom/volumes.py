"""MetaImage files with stable bytes: the .mhd headers of LUNA16 beside .raw (scans) or .zraw (masks)."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.geometry import Geometry

_ELEMENT_TYPES = {"int16": "MET_SHORT", "uint8": "MET_UCHAR"}
_COMPRESSION_LEVEL = 6


def write_metaimage(path: Path, volume: npt.NDArray[Any], geometry: Geometry, *, compressed: bool = False) -> None:
    """Writes `path` (.mhd) and the voxels beside it, the header last, each file under a temporary name first.

    Args:
        path: the header to write.
        volume: int16 or uint8 [D, H, W].
        geometry: of the same shape.
        compressed: .zraw (one zlib stream) instead of .raw.
    """
    data = np.ascontiguousarray(volume).tobytes()
    if compressed:
        data = zlib.compress(data, _COMPRESSION_LEVEL)
    data_path = path.with_suffix(".zraw" if compressed else ".raw")
    # MetaImage lists the axes one after the other: the transpose of the direction matrix that SimpleITK gives.
    axes = np.asarray(geometry.direction).reshape(3, 3).T.ravel()
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {compressed}",
        *([f"CompressedDataSize = {len(data)}"] if compressed else []),
        f"TransformMatrix = {_numbers(axes)}",
        f"Offset = {_numbers(geometry.origin_xyz_mm)}",
        "CenterOfRotation = 0 0 0",
        "AnatomicalOrientation = RAI",
        f"ElementSpacing = {_numbers(geometry.spacing_xyz_mm)}",
        f"DimSize = {_numbers(geometry.shape_zyx[::-1])}",
        f"ElementType = {_ELEMENT_TYPES[volume.dtype.name]}",
        f"ElementDataFile = {data_path.name}",
    ]
    write_atomically(data_path, data)
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def write_atomically(path: Path, data: bytes) -> None:
    """The file is either absent (or as before) or whole, whenever the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _numbers(values: Any) -> str:
    # 17 digits where needed: a reader gets the very float back. Whole numbers as LUNA16 writes them: "1", "-195".
    return " ".join(str(int(v)) if float(v).is_integer() else repr(float(v)) for v in values)
