"""Which scans lie at a path that a person gave: one file, one DICOM series, or a folder full of either."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from lungdet.errors import MissingFileError, ScanError
from lungdet.io.dicom import dicom_series
from lungdet.io.luna16 import find_scans
from lungdet.io.scan import SCAN_SUFFIXES, scan_name, scan_suffix

# Collections keep images on the scans' grids in such folders; they are no scans.
_NOT_SCANS = frozenset({"masks", "seg-lungs-luna16"})


@dataclass(frozen=True)
class FoundScan:
    """One scan, not read yet.

    Attributes:
        path: what `read_scan` takes.
        series_uid: its series UID or file name; of a damaged DICOM folder the folder's name.
        is_dicom: a folder of DICOM slices.
        problem: why it cannot be read, where the search has noticed; empty otherwise.
    """

    path: Path
    series_uid: str
    is_dicom: bool
    problem: str = ""


def search_scans(path: Path | str) -> list[FoundScan]:
    """Find the scans at a path.

    Args:
        path: a scan file; a folder in LUNA16 layout; or any folder, whose scan files and DICOM series are found at any
            depth. Hidden files, folders named `masks`, and DICOM objects that are no CT are passed over.

    Returns:
        At least one scan, sorted by series UID. A folder of CT slices whose headers are damaged is one of them, with
        its `problem`: in a batch the others still count.

    Raises:
        MissingFileError: no such path, or nothing there that is a scan.
        ScanError: two scans of one name, a file of an unknown format.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if path.is_file():
        if not scan_suffix(path):
            raise ScanError(
                f"{path}: not a scan; give {', '.join(SCAN_SUFFIXES)} or a folder, for DICOM that of the slices"
            )
        return [FoundScan(path, scan_name(path), is_dicom=False)]
    if any(p.is_dir() and re.fullmatch(r"subset\d", p.name) for p in path.iterdir()):
        return [FoundScan(file, uid, is_dicom=False) for uid, file in find_scans(path).items()]
    found: dict[str, FoundScan] = {}
    for scan in _walk(path):
        if scan.series_uid in found:
            raise ScanError(
                f"two scans are called {scan.series_uid}: {found[scan.series_uid].path} and {scan.path}; keep one, or "
                "give them different names"
            )
        found[scan.series_uid] = scan
    if not found:
        raise MissingFileError(
            f"{path}: no scan at any depth; scans are {', '.join(SCAN_SUFFIXES)} files or folders of DICOM slices"
        )
    return [found[uid] for uid in sorted(found)]


def _walk(root: Path) -> Iterator[FoundScan]:
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(f for f in folders if f.lower() not in _NOT_SCANS and not f.startswith("."))
        files = [here / name for name in sorted(names) if not name.startswith(".")]
        for file in files:
            if scan_suffix(file):
                yield FoundScan(file, scan_name(file), is_dicom=False)
        if any(_may_be_ct(file) for file in files if not scan_suffix(file)):
            folders.clear()  # a series is read with everything below its folder
            yield from _dicom_scans(here, name=str(here.relative_to(root)) if here != root else here.resolve().name)


def _dicom_scans(folder: Path, *, name: str) -> Iterator[FoundScan]:
    try:
        with warnings.catch_warnings(action="ignore"):  # pydicom's remarks on sloppy values
            uids = dicom_series(folder)
    except ScanError as error:
        yield FoundScan(folder, name, is_dicom=True, problem=str(error))
        return
    for uid in uids:
        # It comes from the file and becomes the name of a folder.
        if not re.fullmatch(r"[\w-][\w.-]*", uid):
            problem = f"{folder}: SeriesInstanceUID is {uid!r}; a UID is made of digits and dots"
            yield FoundScan(folder, name, is_dicom=True, problem=problem)
        else:
            yield FoundScan(folder, uid, is_dicom=True)


def _may_be_ct(file: Path) -> bool:
    """Whether a file is a DICOM slice of CT, or a damaged DICOM file that may have been one."""
    if not file.is_file():  # a link to nowhere, a socket
        return False
    try:
        with file.open("rb") as content:
            if content.read(132)[128:] != b"DICM":
                return False
    except OSError as error:
        raise ScanError(f"{file}: cannot be read ({error.strerror}); give it to this user, or move it away") from error
    try:
        with warnings.catch_warnings(action="ignore"):
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID", "ImageType"])
            if "LOCALIZER" in header.get("ImageType", []):
                return False
            kind = header.file_meta.get("MediaStorageSOPClassUID") or header.get("SOPClassUID")
    except Exception:  # whatever damaged bytes make pydicom trip over; `dicom_series` says what it is
        return True
    return kind in (None, CTImageStorage, EnhancedCTImageStorage)
