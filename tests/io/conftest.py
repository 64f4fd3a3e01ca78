"""Scans written by the tests themselves: a small oblique volume, and DICOM series as pydicom writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from lungdet.geometry import Geometry
from lungdet.io.voxels import HuArray

DicomWriter = Callable[..., list[Path]]


@pytest.fixture
def hu() -> HuArray:
    """int16 [4, 5, 6], every voxel different, both signs, the ends of the CT range included."""
    values = np.random.default_rng(7).permutation(np.arange(-1024, 3072))[: 4 * 5 * 6].astype(np.int16)
    values[:2] = (-1024, 3071)
    return values.reshape(4, 5, 6)


@pytest.fixture
def oblique() -> Geometry:
    """A grid turned about all three axes, with three different spacings."""
    turn = np.array(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix())
    return Geometry((4, 5, 6), (-12.5, 30.25, -101.0), (0.7, 0.8, 2.5), tuple(turn))


@pytest.fixture
def image(hu: HuArray, oblique: Geometry) -> sitk.Image:
    """The same volume as SimpleITK holds it."""
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(oblique.spacing_xyz_mm)
    image.SetOrigin(oblique.origin_xyz_mm)
    image.SetDirection(oblique.direction)
    return image


@pytest.fixture
def write_dicom() -> DicomWriter:
    """`write_dicom(folder, stored [D, H, W], geometry, ...)`: one file per slice, in shuffled file order."""

    def write(
        folder: Path,
        stored: np.ndarray[Any, Any],
        geometry: Geometry,
        *,
        series_uid: str = "1.2.3",
        slope: float = 1,
        intercept: float = -1024,
        change: Callable[[int, FileDataset], None] = lambda index, header: None,
    ) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        names = np.random.default_rng(len(stored)).permutation(len(stored))
        cosines = np.asarray(geometry.direction).reshape(3, 3)
        paths = []
        for index, plane in enumerate(stored):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID = CTImageStorage
            meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series_uid, str(index)])
            meta.TransferSyntaxUID = ExplicitVRLittleEndian
            path = folder / f"{series_uid}_{names[index]:03d}.dcm"
            header = FileDataset(str(path), Dataset(), file_meta=meta, preamble=b"\0" * 128)
            header.SOPClassUID = meta.MediaStorageSOPClassUID
            header.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
            header.SeriesInstanceUID = series_uid
            header.SeriesDescription = f"series {series_uid}"
            header.Modality = "CT"
            header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            header.ImagePositionPatient = [f"{v:.8f}"[:16] for v in geometry.index_to_world([index, 0, 0])]
            header.ImageOrientationPatient = [f"{v:.10f}"[:16] for v in cosines.T[:2].ravel()]
            dx, dy, dz = geometry.spacing_xyz_mm
            header.PixelSpacing = [dy, dx]
            header.SliceThickness = dz
            header.Rows, header.Columns = plane.shape
            header.SamplesPerPixel = 1
            header.PhotometricInterpretation = "MONOCHROME2"
            header.BitsAllocated = header.BitsStored = plane.dtype.itemsize * 8
            header.HighBit = header.BitsStored - 1
            header.PixelRepresentation = int(plane.dtype.kind == "i")
            header.RescaleSlope, header.RescaleIntercept = slope, intercept
            header.PixelData = plane.tobytes()
            change(index, header)
            pydicom.dcmwrite(path, header, enforce_file_format=True)
            paths.append(path)
        return paths

    return write
