"""A folder of DICOM slices as one CT volume: which files belong to it, their order, their grid, their units."""

from __future__ import annotations

import logging
import struct
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, MediaStorageDirectoryStorage

from lungdet.errors import MissingFileError, ScanError
from lungdet.geometry import FloatArray, Geometry
from lungdet.io.itk import read_itk
from lungdet.io.voxels import HuArray, as_hu, geometry_of

_log = logging.getLogger(__name__)

_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "RescaleSlope",
    "RescaleIntercept",
]
# Direction cosines carry six decimals; slices of one series repeat them to the letter, apart from rounding.
_ORIENTATION_TOLERANCE = 1e-4
# Positions written with one decimal leave 0.05 mm, 8 % of the thinnest LIDC spacing; a missing slice shows as 50 %.
_GRID_TOLERANCE = 0.1
# Slices may slide in their plane (gantry tilt) by a quarter of a pixel before a rectangular grid would be a lie.
_SHIFT_TOLERANCE = 0.25
# What pydicom raises on damaged files, besides its own InvalidDicomError.
_DAMAGE = (
    InvalidDicomError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class _Slice:
    path: Path
    sop_uid: str
    series_uid: str
    description: str
    position: FloatArray
    orientation: FloatArray
    spacing_yx: tuple[float, float]
    thickness: float
    shape_yx: tuple[int, int]
    slope: float
    intercept: float

    @property
    def normal(self) -> FloatArray:
        normal: FloatArray = np.cross(self.orientation[:3], self.orientation[3:])
        return normal


def read_dicom(folder: Path, *, series_uid: str | None = None) -> tuple[HuArray, Geometry, str]:
    """Reads the CT series of a folder, sub-folders included.

    Localizers and objects that are no CT slices (segmentations, reports, DICOMDIR, foreign files) are passed over.

    Args:
        folder: where the files lie; their names do not matter.
        series_uid: which series, where there are several.

    Returns:
        int16 [D, H, W] in HU (rescale slope and intercept applied, rounded), slices ascending along the normal; the
        grid; the SeriesInstanceUID.

    Raises:
        MissingFileError: no file at all in the folder.
        ScanError: no CT slice, several series and none chosen, slices that are missing, doubled or irregular, of
            several sizes or orientations, sheared (gantry tilt), without rescale values, or damaged.
    """
    slices, geometry = _volume(folder, series_uid)
    hu = np.empty(geometry.shape_zyx, np.int16)
    for plane, item in zip(hu, slices, strict=True):
        plane[...] = _hounsfield(item)
    return hu, geometry, slices[0].series_uid


def read_dicom_header(folder: Path, *, series_uid: str | None = None) -> Geometry:
    """The grid that `read_dicom` would return, from the headers alone; same arguments and errors."""
    return _volume(folder, series_uid)[1]


def dicom_series(folder: Path) -> tuple[str, ...]:
    """UIDs of the CT series in a folder, sorted; errors as `read_dicom`."""
    return tuple(sorted({item.series_uid for item in _ct_slices(folder)}))


def dicom_files(folder: Path, *, series_uid: str | None = None) -> tuple[tuple[Path, ...], Geometry]:
    """The files of the slices that `read_dicom` stacks, in the order of its z axis; same arguments and errors."""
    slices, geometry = _volume(folder, series_uid)
    return tuple(item.path for item in slices), geometry


def _volume(folder: Path, series_uid: str | None) -> tuple[list[_Slice], Geometry]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's remarks on sloppy values, made when they are first looked at
        slices = _chosen(folder, _ct_slices(folder), series_uid)
    first = slices[0]
    for what, values in (
        ("sizes", [item.shape_yx for item in slices]),
        ("pixel spacings", [item.spacing_yx for item in slices]),
    ):
        if len(set(values)) > 1:
            raise ScanError(f"{folder}: slices of different {what}: {_tally(values)}; move the odd ones elsewhere")
    turned = [s for s in slices if np.abs(s.orientation - first.orientation).max() > _ORIENTATION_TOLERANCE]
    if turned:
        orientations = [tuple(item.orientation.tolist()) for item in slices]
        raise ScanError(
            f"{folder}: slices of different orientation: {_tally(orientations)}; move the odd ones elsewhere"
        )
    along = np.array([item.position @ first.normal for item in slices])
    slices = [slices[i] for i in np.argsort(along, kind="stable")]
    along = np.sort(along)
    spacing_z = _slice_spacing(folder, slices, along)
    rows, columns = first.shape_yx
    return slices, geometry_of(
        folder,
        (len(slices), rows, columns),
        origin_xyz_mm=tuple(slices[0].position),
        spacing_xyz_mm=(first.spacing_yx[1], first.spacing_yx[0], spacing_z),
        direction=tuple(np.column_stack([first.orientation[:3], first.orientation[3:], first.normal]).ravel()),
    )


def _slice_spacing(folder: Path, slices: Sequence[_Slice], along: FloatArray) -> float:
    """Distance of neighbouring slices, after making sure that they form one regular, unsheared stack."""
    if len(slices) == 1:
        if not slices[0].thickness > 0:
            raise ScanError(f"{folder}: a single slice without SliceThickness; its extent along z is unknown")
        return slices[0].thickness
    gaps = np.diff(along)
    doubled = [(slices[i], slices[i + 1]) for i in np.flatnonzero(gaps < 1e-3).tolist()]
    if doubled:
        a, b = doubled[0]
        copies = "copies of one image" if a.sop_uid == b.sop_uid else "different images"
        raise ScanError(
            f"{folder}: {len(doubled)} slice positions occur twice, first {_point(a)} in {a.path.name} and "
            f"{b.path.name} ({copies}); remove one of each"
        )
    usual = float(np.median(gaps))
    spacing = float((along[-1] - along[0]) / len(gaps))
    astray = np.abs(along - (along[0] + spacing * np.arange(len(along))))
    if astray.max() > _GRID_TOLERANCE * usual:
        wrong = np.flatnonzero(np.abs(gaps - usual) > _GRID_TOLERANCE * usual)
        places = [
            f"{gaps[i]:.3f} mm between {_point(slices[i])} and {_point(slices[i + 1])}" for i in wrong[:5].tolist()
        ]
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ScanError(
            f"{folder}: slices are missing or irregular: the usual distance is {usual:.3f} mm, but {'; '.join(places)}"
            f"{more}; complete the series or resample it to a regular grid"
        )
    first = slices[0]
    offsets = np.array([item.position - first.position for item in slices])
    sideways = offsets - np.outer(offsets @ first.normal, first.normal)
    shift = float(np.linalg.norm(sideways, axis=1).max())
    if shift > _SHIFT_TOLERANCE * min(first.spacing_yx):
        raise ScanError(
            f"{folder}: slices slide sideways by up to {shift:.2f} mm along the stack, from {_point(first)} to "
            f"{_point(slices[-1])} (gantry tilt); resample the series to a rectangular grid first"
        )
    return spacing


def _chosen(folder: Path, slices: Sequence[_Slice], series_uid: str | None) -> list[_Slice]:
    series: dict[str, list[_Slice]] = {}
    for item in slices:
        series.setdefault(item.series_uid, []).append(item)
    if series_uid in series:
        return series[series_uid]
    if series_uid is None and len(series) == 1:
        return next(iter(series.values()))
    listing = "\n".join(
        f"  {uid}  {len(items)} slices  {items[0].description!r}" for uid, items in sorted(series.items())
    )
    asked = "" if series_uid is None else f", none of them {series_uid}"
    raise ScanError(
        f"{folder}: holds {len(series)} CT series{asked}:\n{listing}\n"
        f"choose one, for instance series_uid='{min(series)}'"
    )


def _ct_slices(folder: Path) -> list[_Slice]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise MissingFileError(f"{folder}: no files in this folder; a scan is a file or a folder of DICOM slices")
    slices: list[_Slice] = []
    others: Counter[str] = Counter()
    for path in files:
        header = _header(path)
        if header is None:
            others["not DICOM"] += 1
        elif (kind := _sop_class(path, header)) != CTImageStorage:
            others[kind.name] += 1
        elif "LOCALIZER" in header.get("ImageType", []):
            others["CT localizer"] += 1
        else:
            slices.append(_slice(path, header))
    if not slices:
        found = ", ".join(f"{count} x {kind}" for kind, count in others.most_common())
        hint = (
            "convert multi-frame CT to single slices" if others[EnhancedCTImageStorage.name] else "give the CT's folder"
        )
        raise ScanError(f"{folder}: no CT slice among its {len(files)} files (found {found}); {hint}")
    if others:
        _log.info("%s: passed over %s", folder, ", ".join(f"{n} x {kind}" for kind, n in others.most_common()))
    return slices


def _header(path: Path) -> Dataset | None:
    """The tags of interest; None where the file is not DICOM."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return None
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
    except _DAMAGE as error:
        raise ScanError(f"{path}: damaged DICOM header ({error}); copy the file again") from error


def _sop_class(path: Path, header: Dataset) -> UID:
    """What kind of object this is; a DICOMDIR says so in the file's meta header only."""
    if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return MediaStorageDirectoryStorage
    if "SOPClassUID" not in header or "SOPInstanceUID" not in header:
        raise ScanError(
            f"{path}: a DICOM file without SOPClassUID or SOPInstanceUID, probably cut short; copy it again"
        )
    return UID(header.SOPClassUID)


def _slice(path: Path, header: Dataset) -> _Slice:
    try:
        item = _Slice(
            path=path,
            sop_uid=str(header.get("SOPInstanceUID", "")),
            series_uid=str(header.SeriesInstanceUID),
            description=str(header.get("SeriesDescription", "")),
            position=np.array([float(v) for v in header.ImagePositionPatient]),
            orientation=np.array([float(v) for v in header.ImageOrientationPatient]),
            spacing_yx=(float(header.PixelSpacing[0]), float(header.PixelSpacing[1])),
            thickness=float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or np.nan),
            shape_yx=(int(header.Rows), int(header.Columns)),
            slope=float(header.RescaleSlope),
            intercept=float(header.RescaleIntercept),
        )
    except _DAMAGE as error:
        raise ScanError(f"{path}: a CT slice with a missing or malformed entry: {error}") from error
    if item.position.shape != (3,) or item.orientation.shape != (6,) or header.get("SamplesPerPixel", 1) != 1:
        raise ScanError(
            f"{path}: a CT slice needs 3 numbers of ImagePositionPatient, 6 of ImageOrientationPatient and 1 sample "
            f"per pixel; found {item.position.size}, {item.orientation.size} and {header.get('SamplesPerPixel', 1)}"
        )
    return item


def _hounsfield(item: _Slice) -> HuArray:
    """One slice, int16 [H, W], HU."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(item.path)
            if header.file_meta.TransferSyntaxUID.is_encapsulated:
                # SimpleITK decodes every compression that CT scanners use and applies the rescale values itself.
                decoded: HuArray = as_hu(read_itk(item.path)[0], item.path)[0]
                return decoded
            stored: npt.NDArray[Any] = header.pixel_array
    except ScanError:
        raise
    except _DAMAGE as error:
        raise ScanError(f"{item.path}: damaged pixels ({error}); copy the file again") from error
    if item.slope == 1 and item.intercept.is_integer():
        return as_hu(stored.astype(np.int32) + int(item.intercept), item.path)
    return as_hu(stored * item.slope + item.intercept, item.path)


def _point(item: _Slice) -> str:
    return "(" + ", ".join(f"{v:g}" for v in item.position) + ")"


def _tally(values: Sequence[Any]) -> str:
    return ", ".join(f"{count} x {value}" for value, count in Counter(values).most_common(6))
