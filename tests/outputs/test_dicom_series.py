"""Headers of a series: in the volume's order, completed, refused with a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from lungdet.errors import ConfigError, MissingFileError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.dicom import read_dicom
from lungdet.outputs.dicom_series import read_dicom_series

SeriesWriter = Callable[..., list[Path]]

VOLUME = np.arange(6 * 5 * 7, dtype=np.uint16).reshape(6, 5, 7)


def test_headers_lie_in_the_order_of_the_volume(tmp_path: Path, write_series: SeriesWriter, grid: Geometry) -> None:
    paths = write_series(tmp_path, VOLUME, grid)
    assert paths != sorted(paths)
    hu, geometry, uid = read_dicom(tmp_path)
    series = read_dicom_series(tmp_path)
    assert (series.uid, series.geometry) == (uid, geometry)
    for z, image in enumerate(series.images):
        np.testing.assert_allclose(image.ImagePositionPatient, geometry.index_to_world([z, 0, 0]), atol=1e-5)
        assert "PixelData" not in image
    assert hu[:, 0, 0].tolist() == VOLUME[:, 0, 0].tolist()


def test_one_series_of_several(tmp_path: Path, write_series: SeriesWriter, upright: Geometry) -> None:
    def other(index: int, header: Dataset) -> None:
        header.SeriesInstanceUID = "1.2.9"
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.9.{index + 1}")

    write_series(tmp_path / "a", VOLUME, upright)
    write_series(tmp_path / "b", VOLUME[:3], upright, change=other)
    series = read_dicom_series(tmp_path, series_uid="1.2.9")
    assert [image.SOPInstanceUID for image in series.images] == ["1.2.9.1", "1.2.9.2", "1.2.9.3"]
    with pytest.raises(ScanError, match="holds 2 CT series"):
        read_dicom_series(tmp_path)


def test_a_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "scan.mhd").write_text("ObjectType = Image")
    with pytest.raises(ConfigError, match=r"scan\.mhd is no DICOM series, so .*; give the folder of the DICOM slices"):
        read_dicom_series(tmp_path / "scan.mhd")
    with pytest.raises(MissingFileError, match="no files in this folder"):
        read_dicom_series(tmp_path / "nothing")
    with pytest.raises(ScanError, match=r"no CT slice among its 1 files"):
        read_dicom_series(tmp_path)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_slices_that_nothing_can_refer_to(
    tmp_path: Path, write_series: SeriesWriter, upright: Geometry, keyword: str
) -> None:
    def absent(index: int, header: Dataset) -> None:
        delattr(header, keyword)

    def several(index: int, header: Dataset) -> None:
        setattr(header, keyword, f"1.2.{1 + index % 2}")

    write_series(tmp_path / "absent", VOLUME, upright, change=absent)
    with pytest.raises(ScanError, match=f"the slices have no {keyword}, and .*; leave dicom out of outputs"):
        read_dicom_series(tmp_path / "absent")
    write_series(tmp_path / "several", VOLUME, upright, change=several)
    with pytest.raises(ScanError, match=rf"with 2 values of {keyword}: 1\.2\.1, 1\.2\.2"):
        read_dicom_series(tmp_path / "several")


def test_entries_left_out_or_malformed_become_empty(
    tmp_path: Path, write_series: SeriesWriter, upright: Geometry, caplog: pytest.LogCaptureFixture
) -> None:
    def sloppy(index: int, header: Dataset) -> None:
        del header.PatientID, header.SliceThickness
        header.SpacingBetweenSlices = "2.5"
        header["ImageOrientationPatient"].value[0] = 1 - 1e-6 * index
        wrong = ((0x00100040, "CS", "W"), (0x00100030, "DA", "around 1950"), (0x00080030, "TM", "noon"))
        for tag, vr, value in wrong:
            header.add_new(tag, vr, "")
            header[tag]._value = value  # as sloppy writers do; pydicom would object

    write_series(tmp_path, VOLUME, upright, change=sloppy)
    with caplog.at_level(logging.WARNING, "lungdet.outputs.dicom_series"):
        series = read_dicom_series(tmp_path)
    for image in series.images:
        for keyword in ("PatientID", "PatientSex", "PatientBirthDate", "StudyTime", "AccessionNumber"):
            assert not image[keyword].value, keyword
        assert str(image.PatientName) == "Doe^Jane"
        assert float(image.SliceThickness) == pytest.approx(2.5, abs=1e-4)
        assert image.ImageOrientationPatient == series.images[0].ImageOrientationPatient
    assert len(caplog.records) == 3
    assert "PatientSex is 'W', which DICOM does not allow" in caplog.text


@pytest.mark.realdata
def test_the_real_series(realdata: Path) -> None:
    series = read_dicom_series(realdata / "dicom" / "LIDC-IDRI-0001")
    assert [float(image.SliceLocation) for image in series.images] == np.arange(-132.5, -94, 2.5).tolist()
    assert series.images[0].PatientID == "LIDC-IDRI-0001"
