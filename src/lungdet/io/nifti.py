"""NIfTI-1 (.nii, .nii.gz): the grid from SimpleITK, the voxels by our own read.

SimpleITK 2.5 returns a truncated NIfTI file without a word, the missing voxels being whatever lay in memory; so the
bytes are counted here.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.itk import read_itk_header
from lungdet.io.voxels import check_channels, check_dimensions

_HEADER_BYTES = 348
# Codes of the NIfTI-1 standard (nifti1.h, field `datatype`).
_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_COLOUR_CODES = {128: 3, 2304: 4}


@dataclass(frozen=True)
class _Header:
    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float


def read_nifti_header(path: Path) -> Geometry:
    """The grid; world is LPS although the file stores RAS.

    Raises:
        ScanError: not NIfTI-1, not three dimensions, an unknown voxel type, a zero or NaN spacing, axes that are not
            orthonormal.
    """
    with _opened(path) as file:
        _parse(path, file)
    return read_itk_header(path)


def read_nifti(path: Path) -> tuple[npt.NDArray[Any], Geometry]:
    """Voxels [D, H, W], scaled by `scl_slope` and `scl_inter` where the header gives them, and the grid.

    Raises:
        ScanError: as `read_nifti_header`; more or fewer bytes than the header asks for; a damaged gzip stream.
    """
    with _opened(path) as file:
        header = _parse(path, file)
        expected = int(np.prod(header.shape_zyx, dtype=np.int64)) * header.dtype.itemsize
        # To the end, so that the check sum of a gzip stream is reached; the header's 348 bytes are already taken.
        content = _read(path, file, -1)[header.offset - _HEADER_BYTES :]
    if len(content) != expected:
        raise ScanError(
            f"{path}: expected {expected} bytes of voxels {header.shape_zyx[::-1]}, found {len(content)}; "
            + ("copy the file again" if len(content) < expected else "the sizes in the header do not belong to them")
        )
    stored = np.frombuffer(content, header.dtype).reshape(header.shape_zyx)
    values: npt.NDArray[Any] = stored.astype(header.dtype.newbyteorder("="), copy=False)
    if (header.slope, header.intercept) != (1.0, 0.0):
        # float32 holds every int16 exactly and a 70-million-voxel scan in half the memory.
        values = values.astype(np.float32 if header.dtype.itemsize <= 2 else np.float64)
        values *= header.slope
        values += header.intercept
    return values, read_itk_header(path)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path, "rb")) if zipped else path.open("rb")


def _read(path: Path, file: IO[bytes], count: int) -> bytes:
    try:
        return file.read(count)
    except (EOFError, OSError, zlib.error) as error:
        raise ScanError(f"{path}: the gzip stream is damaged or cut short ({error}); copy the file again") from error


def _parse(path: Path, file: IO[bytes]) -> _Header:
    raw = _read(path, file, _HEADER_BYTES)
    order = {struct.pack("<i", _HEADER_BYTES): "<", struct.pack(">i", _HEADER_BYTES): ">"}.get(raw[:4])
    if order is None or len(raw) < _HEADER_BYTES or raw[344:347] != b"n+1":
        raise ScanError(f"{path}: not a NIfTI-1 single-file image (its first {len(raw)} bytes are no such header)")
    dims: tuple[int, ...] = struct.unpack(order + "8h", raw[40:56])
    code = struct.unpack(order + "h", raw[70:72])[0]
    pixdim: tuple[float, ...] = struct.unpack(order + "8f", raw[76:108])
    offset, slope, intercept = struct.unpack(order + "3f", raw[108:120])
    if not _HEADER_BYTES <= offset < 1 << 31:
        raise ScanError(f"{path}: impossible vox_offset {offset} in the header; it is at least {_HEADER_BYTES}")
    check_channels(path, _COLOUR_CODES.get(code, 1))
    if code not in _DTYPES:
        raise ScanError(f"{path}: voxel type {code} is not supported; allowed are {sorted(_DTYPES)} (real numbers)")
    if not 1 <= dims[0] <= 7 or min(dims[1 : dims[0] + 1]) < 1:
        raise ScanError(f"{path}: impossible sizes in the header: dim = {dims}")
    sizes = list(dims[1 : dims[0] + 1])
    while len(sizes) > 3 and sizes[-1] == 1:  # a time axis of one is how many programs write a single volume
        sizes.pop()
    if len(sizes) == 5 and sizes[3] == 1:  # NIfTI's way to store vectors
        check_channels(path, sizes[4])
    shape_zyx = check_dimensions(path, tuple(reversed(sizes)))
    spacing = pixdim[1:4]
    if not all(np.isfinite(s) and s > 0 for s in spacing):
        # SimpleITK would put 1 mm in its place.
        raise ScanError(f"{path}: spacing (pixdim) is {spacing}, it must be positive numbers; correct the header")
    scaled = np.isfinite(slope) and slope != 0
    return _Header(
        shape_zyx=shape_zyx,
        dtype=np.dtype(order + _DTYPES[code]),
        offset=int(offset),
        slope=float(slope) if scaled else 1.0,
        intercept=float(intercept) if scaled else 0.0,
    )
