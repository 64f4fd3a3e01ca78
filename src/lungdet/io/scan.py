"""One CT scan from disk, whatever the format: MetaImage, NIfTI, NRRD or a folder of DICOM slices.

Formats are told apart by the file name; a folder is DICOM. Each format's module knows its own bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from lungdet.errors import MissingFileError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.dicom import read_dicom, read_dicom_header
from lungdet.io.itk import read_itk, read_itk_header
from lungdet.io.metaimage import parse_header, read_voxels
from lungdet.io.nifti import read_nifti, read_nifti_header
from lungdet.io.nrrd import read_nrrd, read_nrrd_header
from lungdet.io.voxels import HuArray, as_hu

METAIMAGE_SUFFIXES = (".mhd", ".mha")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
SCAN_SUFFIXES = (*METAIMAGE_SUFFIXES, *NIFTI_SUFFIXES, *NRRD_SUFFIXES)

# What people point at instead of the file that is meant.
_NEAR_MISSES = {
    ".raw": "the voxels of a .mhd file: give the .mhd beside it",
    ".zraw": "the voxels of a .mhd file: give the .mhd beside it",
    ".dcm": "one DICOM slice: give the folder that holds the series",
    ".ima": "one DICOM slice: give the folder that holds the series",
    ".hdr": "half of an Analyze or NIfTI pair: convert it to .nii.gz",
    ".img": "half of an Analyze or NIfTI pair: convert it to .nii.gz",
    ".npy": "an array without a grid: write it as .nrrd or .mhd with spacing and origin",
    ".zip": "an archive: unpack it first",
}


@dataclass(frozen=True)
class Scan:
    """One CT volume.

    Attributes:
        hu: int16 [D, H, W], Hounsfield units as the scanner gave them (not clipped: padding values stay),
            C-contiguous, writable.
        geometry: where its voxels lie; `geometry.shape_zyx == hu.shape`.
        series_uid: SeriesInstanceUID of a DICOM series, else the file name without its suffixes.
    """

    hu: HuArray
    geometry: Geometry
    series_uid: str


def read_scan(path: Path | str, *, series_uid: str | None = None) -> Scan:
    """Reads one CT volume.

    Args:
        path: a .mhd, .mha, .nii, .nii.gz, .nrrd or .nhdr file, or a folder with one DICOM series (any depth).
        series_uid: which series, where a DICOM folder holds several.

    Returns:
        The scan; values of other types are rounded to int16.

    Raises:
        MissingFileError: the path, or the voxel file that a header names, is not there; an empty folder.
        ScanError: an unknown suffix, a damaged or truncated file, an image that is not one grey-valued volume, a grid
            that is impossible, values beyond int16, DICOM slices that do not form one volume, several DICOM series.
    """
    path = _existing(path, series_uid)
    if path.is_dir():
        hu, geometry, uid = read_dicom(path, series_uid=series_uid)
        return Scan(hu, geometry, uid)
    values, geometry = _read_file(path)
    return Scan(as_hu(values, path), geometry, scan_name(path))


def read_header(path: Path | str, *, series_uid: str | None = None) -> Geometry:
    """The grid of a scan without its voxels; arguments and errors as `read_scan`."""
    path = _existing(path, series_uid)
    if path.is_dir():
        return read_dicom_header(path, series_uid=series_uid)
    suffix = scan_suffix(path)
    if suffix in METAIMAGE_SUFFIXES:
        header = parse_header(path)
        return read_itk_header(path) if header is None else header.geometry
    return read_nifti_header(path) if suffix in NIFTI_SUFFIXES else read_nrrd_header(path)


def scan_suffix(path: Path) -> str:
    """The suffix that names the format, in lower case, or an empty string: `.nii.gz` of `a.1.2.nii.gz`."""
    name = path.name.lower()
    return max((s for s in SCAN_SUFFIXES if name.endswith(s)), key=len, default="")


def scan_name(path: Path) -> str:
    """The file name without the suffix of its format; dots of a series UID stay.

    >>> scan_name(Path("subset0/1.3.6.1.4.1.14519.mhd"))
    '1.3.6.1.4.1.14519'
    """
    return path.name[: len(path.name) - len(scan_suffix(path))]


def _existing(path: Path | str, series_uid: str | None) -> Path:
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if path.is_dir():
        return path
    if not scan_suffix(path):
        near = _NEAR_MISSES.get(path.suffix.lower(), "not a format that lungdet reads")
        raise ScanError(f"{path}: {near}. Scans are {', '.join(SCAN_SUFFIXES)} files or a folder of DICOM slices")
    if series_uid is not None and series_uid != scan_name(path):
        raise ScanError(
            f"{path}: series_uid={series_uid!r} chooses among the series of a DICOM folder; leave it out here"
        )
    return path


def _read_file(path: Path) -> tuple[npt.NDArray[Any], Geometry]:
    suffix = scan_suffix(path)
    if suffix in METAIMAGE_SUFFIXES:
        header = parse_header(path)
        return read_itk(path) if header is None else (read_voxels(header), header.geometry)
    return read_nifti(path) if suffix in NIFTI_SUFFIXES else read_nrrd(path)
