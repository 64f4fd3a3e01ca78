"""The DICOM series a scan was read from, as what is written about it needs it: headers in the volume's order."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, TM

from lungdet.errors import ConfigError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.dicom import dicom_files

_log = logging.getLogger(__name__)

# What files about the series take over from it and have to carry even where the scanner or an anonymizer left it out.
_MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_WHY_NEEDED = {
    "StudyInstanceUID": "a viewer finds findings by the study they belong to",
    "FrameOfReferenceUID": "without it positions in the patient mean nothing to a viewer",
}


@dataclass(frozen=True)
class DicomSeries:
    """The slices of one CT series.

    Attributes:
        uid: SeriesInstanceUID.
        images: the whole header of each slice without its pixels, in the order of the volume's z axis; entries that
            DICOM lets a CT slice leave out, but not what is written about it, are there, empty.
        geometry: the grid that `lungdet.io.dicom.read_dicom` gives the volume.
    """

    uid: str
    images: tuple[Dataset, ...]
    geometry: Geometry


def read_dicom_series(path: Path, *, series_uid: str | None = None) -> DicomSeries:
    """Read the headers of the series that a scan was (or will be) read from; a second for some hundred slices.

    Args:
        path: the input of detection.
        series_uid: which series, where the folder holds several.

    Raises:
        ConfigError: a file, so nothing that a DICOM SEG or SR could refer to.
        MissingFileError: no file in the folder.
        ScanError: what `lungdet.io.dicom.read_dicom` refuses; slices that name no study or frame of reference, or
            several.
    """
    if path.is_file():
        raise ConfigError(
            [
                f"outputs: dicom was asked for, but {path} is no DICOM series, so there are no images that a DICOM SEG "
                "or SR could refer to; give the folder of the DICOM slices as input, or leave dicom out of outputs"
            ]
        )
    paths, geometry = dicom_files(path, series_uid=series_uid)
    with warnings.catch_warnings(action="ignore"):  # pydicom's remarks; what matters is looked at here
        images = [pydicom.dcmread(file, stop_before_pixels=True) for file in paths]
        for keyword, why in _WHY_NEEDED.items():
            values = {str(image.get(keyword) or "") for image in images}
            if values == {""}:
                raise ScanError(f"{path}: the slices have no {keyword}, and {why}; leave dicom out of outputs")
            if len(values) > 1:
                raise ScanError(
                    f"{path}: slices of one series with {len(values)} values of {keyword}: "
                    f"{', '.join(sorted(values))}; leave dicom out of outputs"
                )
        for image in images:
            _complete(image, images[0], thickness_mm=geometry.spacing_zyx_mm[0])
    return DicomSeries(str(images[0].SeriesInstanceUID), tuple(images), geometry)


def _complete(image: Dataset, first: Dataset, *, thickness_mm: float) -> None:
    for keyword in _MAY_BE_EMPTY:
        if image.get(keyword) is None:
            setattr(image, keyword, "")
    checks: dict[str, Callable[[str], Any]] = {
        "PatientBirthDate": DA,
        "StudyDate": DA,
        "StudyTime": TM,
        "PatientSex": ("", "F", "M", "O").index,
    }
    for keyword, check in checks.items():
        value = str(image.get(keyword))
        try:
            check(value)
        except ValueError:
            if image is first:
                _log.warning("%s: %s is %r, which DICOM does not allow; left empty", image.filename, keyword, value)
            setattr(image, keyword, "")
    if not image.get("SliceThickness"):
        image.SliceThickness = f"{thickness_mm:.6g}"
    # Cosines that differ in the last digit from slice to slice are one orientation: the reader has made sure.
    image.ImageOrientationPatient = first.ImageOrientationPatient
