"""Which scans lie at a path that a person gave: one file, one DICOM series, or a folder full of either."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from lungdet.errors import MissingFileError, ScanError
from lungdet.io.dicom import dicom_series
from lungdet.io.luna16 import find_scans
from lungdet.io.scan import SCAN_SUFFIXES, scan_name, scan_suffix

_log = logging.getLogger(__name__)

# Collections keep images on the scans' grids in such folders; they are no scans.
_NOT_SCANS = frozenset({"masks", "seg-lungs-luna16"})


@dataclass(frozen=True)
class FoundScan:
    """One scan, not read yet.

    Attributes:
        path: what `read_scan` takes.
        series_uid: its series UID or file name.
        is_dicom: a folder of DICOM slices.
    """

    path: Path
    series_uid: str
    is_dicom: bool


def search_scans(path: Path | str) -> list[FoundScan]:
    """Find the scans at a path.

    Args:
        path: a scan file; a folder in LUNA16 layout; or any folder, whose scan files and DICOM series are found at any
            depth (folders named `masks` are passed over).

    Returns:
        At least one scan, sorted by series UID.

    Raises:
        MissingFileError: no such path, or nothing there that is a scan.
        ScanError: two files of one series, a file of an unknown format, damaged DICOM headers.
    """
    path = Path(path)
    if not path.exists():
        raise MissingFileError(f"{path}: no such file or folder")
    if path.is_file():
        if not scan_suffix(path):
            raise ScanError(f"{path}: not a scan; give {', '.join(SCAN_SUFFIXES)} or a folder")
        return [FoundScan(path, scan_name(path), is_dicom=False)]
    if any(p.is_dir() and p.name.startswith("subset") for p in path.iterdir()):
        return [FoundScan(file, uid, is_dicom=False) for uid, file in find_scans(path).items()]
    found: dict[str, FoundScan] = {}
    for folder, folders, names in os.walk(path):
        here = Path(folder)
        folders[:] = sorted(f for f in folders if f.lower() not in _NOT_SCANS and not f.startswith("."))
        files = [here / name for name in sorted(names) if scan_suffix(Path(name))]
        scans = [FoundScan(file, scan_name(file), is_dicom=False) for file in files]
        if not scans and names and (series := _dicom_series(here, has_folders=bool(folders))):
            scans = [FoundScan(here, uid, is_dicom=True) for uid in series]
            folders.clear()  # a series is read with everything below its folder
        for scan in scans:
            if scan.series_uid in found:
                raise ScanError(
                    f"two scans are called {scan.series_uid}: {found[scan.series_uid].path} and {scan.path}; keep one"
                )
            found[scan.series_uid] = scan
    if not found:
        raise MissingFileError(
            f"{path}: no scan at any depth; scans are {', '.join(SCAN_SUFFIXES)} files or folders of DICOM slices"
        )
    return [found[uid] for uid in sorted(found)]


def _dicom_series(folder: Path, *, has_folders: bool) -> tuple[str, ...]:
    """CT series in a folder; none where its own files are not DICOM."""
    own = next((p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")), None)
    if own is None or not any(_is_dicom(p) for p in sorted(folder.iterdir()) if p.is_file()):
        return ()
    try:
        return dicom_series(folder)
    except (MissingFileError, ScanError) as error:
        if not has_folders:
            raise
        _log.warning("%s: %s", folder, error)
        return ()


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
