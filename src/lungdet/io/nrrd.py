"""NRRD (.nrrd, .nhdr) through SimpleITK, which reads 1 mm where the header says `nan` or nothing; we do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.itk import read_itk, read_itk_header

_HEADER_LIMIT_BYTES = 1 << 16


def read_nrrd_header(path: Path) -> Geometry:
    """The grid; a space other than LPS (RAS, LAS) is turned to LPS by SimpleITK.

    Raises:
        ScanError: not an image, not three dimensions, several values per voxel, no spacing or one that is no number.
    """
    geometry = read_itk_header(path)
    _check_spacing(path)
    return geometry


def read_nrrd(path: Path) -> tuple[npt.NDArray[Any], Geometry]:
    """Voxels [D, H, W] and the grid; errors as `read_nrrd_header`, and damaged or truncated voxels."""
    values, geometry = read_itk(path)
    _check_spacing(path)
    return values, geometry


def _check_spacing(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_HEADER_LIMIT_BYTES)
    for line in head.split(b"\n"):
        name, _, value = line.decode("latin-1").partition(":")
        if name.strip().lower() in ("spacings", "space directions"):
            words = value.translate(str.maketrans("(),", "   ")).split()
            if not all(_is_finite(word) for word in words):
                raise ScanError(f"{path}: {name} ={value} are not numbers; correct the header")
            return
        if not line.strip():  # a blank line ends the header
            break
    raise ScanError(f"{path}: the header gives neither 'space directions' nor 'spacings'; export it again")


def _is_finite(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False
