"""Chests of a few thousand voxels as files that `lungdet detect` takes, and the command in this process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk
from hydra.core.global_hydra import GlobalHydra
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lungdet.cli import detect
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan

# Finds balls of soft tissue in the lungs and nothing else in these chests.
SHARP = (
    "pipeline.blobs.minimum_contrast_hu=450",
    "pipeline.blobs.minimum_roundness=0.6",
    "+pipeline.blobs.spacing_zyx_mm=[2,2,2]",
    "n_shown=0",
)
# One ball in the left lung: z, y, x in mm from the middle, and its diameter.
BALL = (4.0, 0.0, 40.0, 16.0)


def chest(
    *balls: tuple[float, float, float, float],
    shape: tuple[int, int, int] = (24, 48, 48),
    spacing_zyx_mm: tuple[float, float, float] = (4.0, 4.0, 4.0),
    lungs: bool = True,
    seed: int = 0,
    uid: str = "chest",
) -> Scan:
    """A body of 170 x 176 mm with two lungs (-850 HU) and balls (30 HU) in them; noise of 15 HU."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_zyx_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    hu = np.full(shape, -1000.0)
    hu[np.broadcast_to((y / 85) ** 2 + (x / 88) ** 2 < 1, shape)] = 40.0
    for side in (-1, 1) if lungs else ():
        hu[(z / 42) ** 2 + (y / 55) ** 2 + ((x - side * 40) / 30) ** 2 < 1] = -850.0
    for bz, by, bx, diameter in balls:
        hu[(z - bz) ** 2 + (y - by) ** 2 + (x - bx) ** 2 < (diameter / 2) ** 2] = 30.0
    hu += np.random.default_rng(seed).normal(0, 15, shape)
    first, (sz, sy, sx) = [float(axis[0]) for axis in axes], spacing_zyx_mm
    geometry = Geometry(shape, (first[2], first[1], first[0]), (sx, sy, sz))
    return Scan(np.rint(hu).astype(np.int16), geometry, uid)


def write_scan(scan: Scan, path: Path, *, values: npt.NDArray[Any] | None = None) -> Path:
    """The scan in the format of the file name; `values` in the place of its HU."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(scan.hu if values is None else values)
    image.SetSpacing(scan.geometry.spacing_xyz_mm)
    image.SetOrigin(scan.geometry.origin_xyz_mm)
    sitk.WriteImage(image, str(path))
    return path


def write_dicom(scan: Scan, folder: Path, *, uid: str = "1.2.826.0.1.3680043.8.498.7") -> list[Path]:
    """One file per slice, `000.dcm` the lowest."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, plane in enumerate(scan.hu):
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = CTImageStorage
        header.SOPInstanceUID = generate_uid(entropy_srcs=[uid, str(index)])
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = "1.2.3", uid, "1.2.3.4"
        header.PatientID, header.PatientName, header.Modality = "P1", "Doe^Jane", "CT"
        header.StudyDate, header.StudyTime, header.StudyID = "20240229", "101500", "S1"
        header.ImageType, header.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], index + 1
        header.ImagePositionPatient = [f"{v:g}" for v in scan.geometry.index_to_world([index, 0, 0])]
        header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dz, dy, dx = scan.geometry.spacing_zyx_mm
        header.PixelSpacing, header.SliceThickness = [dy, dx], dz
        header.Rows, header.Columns = plane.shape
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
        header.RescaleSlope, header.RescaleIntercept = 1, 0
        header.PixelData = plane.tobytes()
        paths.append(folder / f"{index:03d}.dcm")
        pydicom.dcmwrite(paths[-1], header, enforce_file_format=True)
    return paths


def run_detect(folder: Path, *arguments: str) -> None:
    """`lungdet detect ARGUMENTS`, typed in `folder`."""
    GlobalHydra.instance().clear()
    before, here = sys.argv, Path.cwd()
    sys.argv = ["detect.py", f"paths.root={folder}", "device=cpu", *arguments]
    os.chdir(folder)
    try:
        detect.main()
    finally:
        sys.argv = before
        os.chdir(here)
        GlobalHydra.instance().clear()
