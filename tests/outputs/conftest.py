"""A small DICOM series whose pixels say which findings cover them, written by pydicom in shuffled order."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lungdet.geometry import Geometry
from lungdet.pipeline.detections import Detections, detection_table
from lungdet.pipeline.regions import Region

SERIES_UID = "1.2.826.0.1.3680043.8.498.1"

SeriesWriter = Callable[..., list[Path]]
Detector = Callable[..., Detections]
Validator = Callable[[Path], list[str]]


def _turned(x: float, y: float, z: float) -> tuple[float, ...]:
    return tuple(sitk.Euler3DTransform((0, 0, 0), x, y, z).GetMatrix())


ORIENTATIONS = {
    "upright": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    "from head to feet": (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
    "coronal": (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0),
    "oblique": _turned(0.3, -0.2, 0.5),
}


@pytest.fixture(params=list(ORIENTATIONS))
def grid(request: pytest.FixtureRequest) -> Geometry:
    """6 slices of 5 x 7 pixels: 35 bits a frame, so that frames of a SEG do not start at whole bytes."""
    return Geometry((6, 5, 7), (-12.5, 30.25, -101.0), (0.7, 0.8, 2.5), ORIENTATIONS[request.param])


@pytest.fixture
def upright() -> Geometry:
    return Geometry((6, 5, 7), (-12.5, 30.25, -101.0), (0.7, 0.8, 2.5))


@pytest.fixture
def write_series() -> SeriesWriter:
    """`write_series(folder, stored [D, H, W], geometry, change=...)`: one file per slice, in shuffled order."""

    def write(
        folder: Path,
        stored: np.ndarray[Any, np.dtype[np.uint16]],
        geometry: Geometry,
        *,
        change: Callable[[int, Dataset], None] = lambda index, header: None,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        names = np.random.default_rng(3).permutation(len(stored))
        cosines = np.asarray(geometry.direction).reshape(3, 3)
        dx, dy, dz = geometry.spacing_xyz_mm
        paths = []
        for index, plane in enumerate(stored):
            header = Dataset()
            header.file_meta = FileMetaDataset()
            header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = CTImageStorage
            uid = generate_uid(entropy_srcs=[SERIES_UID, str(index)])
            header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = uid
            header.StudyInstanceUID, header.SeriesInstanceUID = "1.2.3", SERIES_UID
            header.FrameOfReferenceUID = "1.2.3.4"
            header.PatientID, header.PatientName = "P1", "Doe^Jane"
            header.StudyDate, header.StudyTime, header.StudyID = "20240229", "101500", "S1"
            header.Modality, header.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
            header.InstanceNumber = len(stored) - index
            header.ImagePositionPatient = [f"{v:.8f}"[:16] for v in geometry.index_to_world([index, 0, 0])]
            header.ImageOrientationPatient = [f"{v:.10f}"[:16] for v in cosines.T[:2].ravel()]
            header.PixelSpacing, header.SliceThickness = [dy, dx], dz
            header.Rows, header.Columns = plane.shape
            header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
            header.BitsAllocated = header.BitsStored = 16
            header.HighBit, header.PixelRepresentation = 15, 0
            header.RescaleSlope, header.RescaleIntercept = 1, 0
            header.PixelData = plane.astype(np.uint16).tobytes()
            change(index, header)
            paths.append(folder / f"{names[index]:03d}")
            pydicom.dcmwrite(paths[-1], header, enforce_file_format=True)
        return paths

    return write


@pytest.fixture
def detect() -> Detector:
    """`detect(series_uid, regions, probability=[...], **columns)`: detections as a pipeline gives them."""

    def make(
        series_uid: str, regions: Sequence[Region], *, patient: dict[str, Any] | None = None, **columns: Any
    ) -> Detections:
        n = len(regions)
        given = {"probability": np.linspace(0.95, 0.55, n), "logit": np.linspace(3, 1, n), **columns}
        answer = {
            "rule": "maximum",
            "nodule_probability": 0.95,
            "malignancy_probability": float("nan"),
            "n_candidates": n,
            "n_nodules": n,
            **(patient or {}),
        }
        table = detection_table(series_uid, np.arange(3.0 * n).reshape(n, 3), given)
        return Detections(table, answer, {}, {"pipeline": "default"}, (), tuple(regions))

    return make


@pytest.fixture(scope="session")
def errors_of() -> Validator:
    """The error lines of dciodvfy, David Clunie's validator of DICOM files."""
    program = Path(sys.executable).parent / "dciodvfy"
    if not program.is_file():
        pytest.skip("dciodvfy is not installed: it comes with the dev extra (package dicom3tools)")

    def validate(path: Path) -> list[str]:
        done = subprocess.run([program, path], capture_output=True, text=True, check=False)
        assert any(kind in done.stderr for kind in ("Segmentation", "Comprehensive3DSR")), done.stderr
        return [line for line in done.stderr.splitlines() if line.startswith("Error")]

    return validate
