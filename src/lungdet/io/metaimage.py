"""MetaImage (.mhd + .raw or .zraw, .mha): the header as a typed record, the voxels by one read.

np.fromfile takes a third of SimpleITK's time for the same array, and a short file is noticed before it is read. Rare
variants (ASCII voxels, one file per slice) are left to SimpleITK: `parse_header` returns None for them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import MissingFileError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.voxels import check_channels, geometry_of

# MET_LONG is absent on purpose: its width depends on the machine that wrote it, so SimpleITK decides.
_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# Keys that would change what a voxel or a position means. SimpleITK ignores them; a wrong HU without a word is worse.
_ONLY_VALUES = {
    "DistanceUnits": ("mm", "?"),
    "ElementToIntensityFunctionSlope": ("1",),
    "ElementToIntensityFunctionOffset": ("0",),
}
_HEADER_LIMIT_BYTES = 1 << 16


@dataclass(frozen=True)
class MetaHeader:
    """One parsed header.

    Attributes:
        path: the header file, for error texts.
        geometry: the grid.
        dtype: of the stored voxels, byte order included.
        data_path: the file that holds the voxels (the header itself for .mha).
        data_offset: first byte of the voxels in it; -1 means that they end the file.
        compressed: whether the voxels are one zlib (or gzip) stream.
    """

    path: Path
    geometry: Geometry
    dtype: np.dtype[Any]
    data_path: Path
    data_offset: int
    compressed: bool


def parse_header(path: Path) -> MetaHeader | None:
    """Reads a MetaImage header, no voxels.

    `TransformMatrix` lists the unit vector of the x axis first, then y, then z: the transpose of the direction that
    `Geometry` and SimpleITK use.

    Returns:
        None where the header is sound but of a variant that only SimpleITK reads.

    Raises:
        ScanError: not a MetaImage header, a missing or malformed key, not three dimensions, several values per voxel, a
            spacing that is not positive.
    """
    fields, header_bytes = _read_fields(path)
    sizes = _numbers(fields, ("DimSize",), path)
    axes = len(sizes)
    if not all(size >= 1 and size.is_integer() for size in sizes):
        raise ScanError(f"{path}: DimSize = {fields['DimSize']} are not whole numbers >= 1")
    if _numbers(fields, ("NDims",), path, default=(axes,)) != (axes,):
        raise ScanError(f"{path}: NDims = {fields['NDims']}, but DimSize has {axes} numbers: {fields['DimSize']}")
    check_channels(path, int(_numbers(fields, ("ElementNumberOfChannels",), path, default=(1,))[0]))
    matrix = _numbers(fields, ("TransformMatrix", "Rotation", "Orientation"), path, default=tuple(np.eye(axes).ravel()))
    if len(matrix) != axes * axes:
        raise ScanError(f"{path}: TransformMatrix has {len(matrix)} numbers, expected {axes * axes}")
    geometry = geometry_of(
        path,
        tuple(int(n) for n in reversed(sizes)),
        origin_xyz_mm=_triple(fields, ("Origin", "Offset", "Position"), path, axes=axes, default=0.0),
        spacing_xyz_mm=_triple(fields, ("ElementSpacing", "ElementSize"), path, axes=axes),
        direction=tuple(np.asarray(matrix).reshape(axes, axes).T.ravel()),
    )
    for key, allowed in _ONLY_VALUES.items():
        if fields.get(key, allowed[0]) not in allowed:
            raise ScanError(
                f"{path}: {key} = {fields[key]} is not supported, only {' or '.join(allowed)}; export as HU in mm"
            )
    dtype = _DTYPES.get(fields.get("ElementType", ""))
    target = fields["ElementDataFile"]
    several_files = target.upper() == "LIST" or "%" in target or len(target.split()) > 1
    ascii_voxels = not _flag(fields, ("BinaryData",), default=True)
    if dtype is None or ascii_voxels:
        return None
    data_path = path if target.upper() == "LOCAL" else path.parent / target
    if several_files and not data_path.is_file():
        return None
    big_endian = _flag(fields, ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"), default=False)
    skipped = int(_numbers(fields, ("HeaderSize",), path, default=(0,))[0])
    return MetaHeader(
        path=path,
        geometry=geometry,
        dtype=np.dtype(dtype).newbyteorder(">" if big_endian else "<"),
        data_path=data_path,
        data_offset=header_bytes if data_path == path else skipped,
        compressed=_flag(fields, ("CompressedData",), default=False),
    )


def read_voxels(header: MetaHeader) -> npt.NDArray[Any]:
    """The stored voxels of a parsed header: [D, H, W], `header.dtype` in native byte order, writable unless compressed.

    Raises:
        MissingFileError: the voxel file that the header names is not there.
        ScanError: more or fewer bytes than the header asks for, or a compressed stream that is damaged.
    """
    if not header.data_path.is_file():
        raise MissingFileError(
            f"{header.path}: its voxel file {header.data_path.name} is not in {header.data_path.parent}; "
            "put it beside the header, or correct ElementDataFile if it was renamed"
        )
    shape = header.geometry.shape_zyx
    expected = int(np.prod(shape, dtype=np.int64)) * header.dtype.itemsize
    stored = header.data_path.stat().st_size
    offset = header.data_offset
    if header.compressed:
        voxels = np.frombuffer(_inflate(header, max(offset, 0), expected), header.dtype)
    else:
        offset = stored - expected if offset < 0 else offset
        if offset < 0 or stored - offset != expected:
            raise _size_error(header, expected, stored - max(offset, 0))
        voxels = np.fromfile(header.data_path, header.dtype, offset=offset)
    return voxels.reshape(shape).astype(header.dtype.newbyteorder("="), copy=False)


def _inflate(header: MetaHeader, offset: int, expected: int) -> bytes:
    with header.data_path.open("rb") as file:
        file.seek(offset)
        stream = file.read()
    # 32 + 15: zlib or gzip wrapping, told apart by the stream itself, as the MetaImage library does.
    inflater = zlib.decompressobj(wbits=47)
    try:
        content = inflater.decompress(stream, expected + 1)
    except zlib.error as error:
        raise ScanError(
            f"{header.data_path}: the compressed voxels are damaged ({error}); copy the file again"
        ) from error
    if len(content) != expected:
        raise _size_error(header, expected, len(content), more=not inflater.eof and len(content) > expected)
    if not inflater.eof:
        raise ScanError(f"{header.data_path}: the compressed voxels are cut short; copy the file again")
    return content


def _size_error(header: MetaHeader, expected: int, found: int, *, more: bool = False) -> ScanError:
    shape = " x ".join(str(n) for n in header.geometry.shape_zyx[::-1])
    return ScanError(
        f"{header.data_path}: expected {expected} bytes of voxels ({shape}, {header.dtype.itemsize} bytes each), "
        f"found {'at least ' if more else ''}{found}; "
        + ("copy the file again" if found < expected else "DimSize or ElementType in the header does not belong to it")
    )


def _read_fields(path: Path) -> tuple[dict[str, str], int]:
    """Keys and values up to and including ElementDataFile, and the number of bytes they take."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while file.tell() < _HEADER_LIMIT_BYTES and "ElementDataFile" not in fields:
            line = file.readline(_HEADER_LIMIT_BYTES)
            if not line:
                break
            key, equals, value = line.decode("latin-1").partition("=")
            if equals:
                fields[key.strip()] = value.strip()
            elif line.strip():
                raise ScanError(f"{path}: not a MetaImage header (line without '=': {line[:40]!r})")
        size = file.tell()
    missing = [key for key in ("DimSize", "ElementType", "ElementDataFile") if not fields.get(key)]
    if missing:
        raise ScanError(
            f"{path}: not a complete MetaImage header, no {', '.join(missing)}; copy or export the file again"
        )
    return fields, size


def _numbers(
    fields: dict[str, str], names: tuple[str, ...], path: Path, *, default: tuple[float, ...] | None = None
) -> tuple[float, ...]:
    """The numbers of the first key present among synonyms."""
    for name in names:
        if name in fields:
            try:
                return tuple(float(word) for word in fields[name].split())
            except ValueError as error:
                raise ScanError(f"{path}: {name} = {fields[name]} are not numbers") from error
    if default is None:
        raise ScanError(f"{path}: the header gives no {names[0]}; export the scan with it")
    return default


def _triple(
    fields: dict[str, str], names: tuple[str, ...], path: Path, *, axes: int, default: float | None = None
) -> tuple[float, ...]:
    values = _numbers(fields, names, path, default=None if default is None else (default,) * axes)
    if len(values) != axes:
        raise ScanError(f"{path}: {names[0]} has {len(values)} numbers, expected {axes}")
    return values


def _flag(fields: dict[str, str], names: tuple[str, ...], *, default: bool) -> bool:
    for name in names:
        if name in fields:
            return fields[name][:1] in ("T", "t", "1")
    return default
