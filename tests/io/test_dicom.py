"""DICOM series written by pydicom, read by us, checked against the numbers that went in and against SimpleITK."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from lungdet.errors import MissingFileError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.dicom import read_dicom, read_dicom_header
from lungdet.io.voxels import HuArray

Writer = Callable[..., list[Path]]

UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
HEAD_DOWN = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0)


def stored_of(hu: HuArray) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    return (hu.astype(np.int32) + 1024).astype(np.uint16)


@pytest.fixture
def grid() -> Geometry:
    return Geometry((4, 5, 6), (-12.5, 30.25, -101.0), (0.7, 0.8, 2.5))


@pytest.mark.parametrize("direction", [UPRIGHT, FLIPPED, HEAD_DOWN, CORONAL, ()])
def test_hu_and_world_coordinates(
    tmp_path: Path,
    write_dicom: Writer,
    hu: HuArray,
    grid: Geometry,
    oblique: Geometry,
    direction: tuple[float, ...],
) -> None:
    geometry = replace(grid, direction=tuple(direction)) if direction else oblique
    paths = write_dicom(tmp_path, stored_of(hu), geometry)
    assert paths != sorted(paths)  # the file order says nothing
    result, read, uid = read_dicom(tmp_path)
    np.testing.assert_array_equal(result, hu)
    assert uid == "1.2.3"
    assert read == read_dicom_header(tmp_path)
    assert read.shape_zyx == geometry.shape_zyx
    corners = [[0, 0, 0], [3, 4, 5], [3, 0, 0], [0, 4, 0], [0, 0, 5]]
    np.testing.assert_allclose(read.index_to_world(corners), geometry.index_to_world(corners), atol=1e-5)


@pytest.mark.parametrize("direction", [UPRIGHT, FLIPPED, HEAD_DOWN, CORONAL])
def test_agrees_with_simpleitk(
    tmp_path: Path, write_dicom: Writer, hu: HuArray, grid: Geometry, direction: tuple[float, ...]
) -> None:
    write_dicom(tmp_path, stored_of(hu), replace(grid, direction=direction))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    image = reader.Execute()
    result, geometry, _ = read_dicom(tmp_path)
    theirs = sitk.GetArrayFromImage(image)
    for voxel in [(0, 0, 0), (3, 4, 5), (1, 2, 3)]:
        world = image.TransformIndexToPhysicalPoint(voxel[::-1])
        index = tuple(np.rint(geometry.world_to_index(world)).astype(int))
        np.testing.assert_allclose(geometry.index_to_world(index), world, atol=1e-6)
        assert result[index] == theirs[voxel]


def test_a_slope_that_is_no_whole_number_is_rounded(tmp_path: Path, write_dicom: Writer, grid: Geometry) -> None:
    stored = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    write_dicom(tmp_path, stored, grid, slope=0.37, intercept=-10.2)
    result, _, _ = read_dicom(tmp_path)
    np.testing.assert_array_equal(result, np.rint(stored * 0.37 - 10.2))


def test_each_slice_has_its_own_rescale_values(tmp_path: Path, write_dicom: Writer, grid: Geometry) -> None:
    def change(index: int, header: FileDataset) -> None:
        header.RescaleSlope, header.RescaleIntercept = index + 1, -index

    stored = np.ones((4, 5, 6), np.uint16)
    write_dicom(tmp_path, stored, grid, change=change)
    assert read_dicom(tmp_path)[0][:, 0, 0].tolist() == [1, 1, 1, 1]


def test_twelve_bits_with_a_sign(tmp_path: Path, write_dicom: Writer, grid: Geometry) -> None:
    def change(index: int, header: FileDataset) -> None:
        header.BitsStored, header.HighBit = 12, 11

    stored = np.linspace(-2048, 2047, 120).astype(np.int16).reshape(4, 5, 6)
    write_dicom(tmp_path, stored, grid, change=change, intercept=0)
    np.testing.assert_array_equal(read_dicom(tmp_path)[0], stored)


def test_values_beyond_int16(tmp_path: Path, write_dicom: Writer, grid: Geometry) -> None:
    write_dicom(tmp_path, np.full((4, 5, 6), 60_000, np.uint16), grid)
    with pytest.raises(ScanError, match=r"1\.2\.3_003\.dcm: int32 values from 58976 to 58976 do not fit int16"):
        read_dicom(tmp_path)


@pytest.mark.parametrize("codec", ["JPEG2000", "JPEG", "RLE"])
def test_compressed_pixels(tmp_path: Path, write_dicom: Writer, codec: str) -> None:
    # 64 x 64, because the JPEG 2000 encoder in SimpleITK aborts the process on an image of 6 x 5.
    hu = (np.arange(2 * 64 * 64) % 4000 - 1000).astype(np.int16).reshape(2, 64, 64)
    grid = Geometry((2, 64, 64), (-12.5, 30.25, -101.0), (0.7, 0.8, 2.5))
    for path in write_dicom(tmp_path, stored_of(hu), grid, slope=0.5, intercept=-512):
        header = pydicom.dcmread(path)
        if codec == "RLE":
            header.compress(pydicom.uid.RLELossless)
        else:
            header = _recompressed(path, header, codec)
        header.save_as(path)
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID.is_encapsulated
    result, geometry, _ = read_dicom(tmp_path)
    np.testing.assert_array_equal(result, np.rint((hu + 1024) * 0.5 - 512))
    assert geometry == read_dicom_header(tmp_path) == grid


def _recompressed(path: Path, header: FileDataset, codec: str) -> FileDataset:
    """The same slice with its pixels as SimpleITK compresses them."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path.with_suffix(".tmp.dcm")))
    writer.SetUseCompression(True)
    writer.SetCompressor(codec)
    writer.Execute(sitk.GetImageFromArray(header.pixel_array[None]))
    packed = pydicom.dcmread(path.with_suffix(".tmp.dcm"))
    path.with_suffix(".tmp.dcm").unlink()
    header.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
    header["PixelData"] = packed["PixelData"]
    return header


def test_several_series_are_listed_and_one_is_chosen(
    tmp_path: Path, write_dicom: Writer, hu: HuArray, grid: Geometry
) -> None:
    write_dicom(tmp_path / "a", stored_of(hu), grid, series_uid="1.2.3")
    write_dicom(tmp_path / "b", stored_of(hu)[:2], grid, series_uid="1.2.4")
    with pytest.raises(ScanError, match="holds 2 CT series") as caught:
        read_dicom(tmp_path)
    assert "1.2.3  4 slices  'series 1.2.3'" in str(caught.value)
    assert "1.2.4  2 slices  'series 1.2.4'" in str(caught.value)
    assert "series_uid='1.2.3'" in str(caught.value)
    result, geometry, uid = read_dicom(tmp_path, series_uid="1.2.4")
    np.testing.assert_array_equal(result, hu[:2])
    assert uid == "1.2.4"
    assert read_dicom_header(tmp_path, series_uid="1.2.4") == geometry
    with pytest.raises(ScanError, match=r"holds 2 CT series, none of them 1\.2\.5"):
        read_dicom(tmp_path, series_uid="1.2.5")
    with pytest.raises(ScanError, match=r"holds 1 CT series, none of them 1\.2\.5"):
        read_dicom(tmp_path / "a", series_uid="1.2.5")


def test_other_objects_in_the_folder_are_passed_over(
    tmp_path: Path, write_dicom: Writer, hu: HuArray, grid: Geometry, caplog: pytest.LogCaptureFixture
) -> None:
    def segmentation(index: int, header: FileDataset) -> None:
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.66.4")
        del header.ImagePositionPatient

    def localizer(index: int, header: FileDataset) -> None:
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_dicom(tmp_path, stored_of(hu), grid)

    def directory(index: int, header: FileDataset) -> None:
        del header.SOPClassUID  # a DICOMDIR names its class in the meta header alone
        header.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")

    write_dicom(tmp_path, stored_of(hu)[:1], grid, series_uid="1.2.6", change=directory)
    write_dicom(tmp_path, stored_of(hu)[:1], grid, series_uid="1.2.5", change=segmentation)
    write_dicom(tmp_path, stored_of(hu)[:1], grid, series_uid="1.2.3.9", change=localizer)
    (tmp_path / "notes.txt").write_text("not DICOM")
    (tmp_path / "empty").write_bytes(b"")
    with caplog.at_level(logging.INFO, "lungdet.io.dicom"):
        result, _, _ = read_dicom(tmp_path)
    np.testing.assert_array_equal(result, hu)
    for kind in (
        "2 x not DICOM",
        "1 x Segmentation Storage",
        "1 x Media Storage Directory Storage",
        "1 x CT localizer",
    ):
        assert kind in caplog.text


def test_a_folder_without_ct(tmp_path: Path, write_dicom: Writer, hu: HuArray, grid: Geometry) -> None:
    with pytest.raises(MissingFileError, match="no files in this folder"):
        read_dicom(tmp_path)
    (tmp_path / "notes.txt").write_text("not DICOM")
    with pytest.raises(ScanError, match=r"no CT slice among its 1 files \(found 1 x not DICOM\)"):
        read_dicom(tmp_path)

    def enhanced(index: int, header: FileDataset) -> None:
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.2.1")

    write_dicom(tmp_path, stored_of(hu), grid, change=enhanced)
    with pytest.raises(ScanError, match=r"4 x Enhanced CT Image Storage.*convert multi-frame CT"):
        read_dicom(tmp_path)


def remove(tmp_path: Path, paths: list[Path], *indices: int) -> None:
    for index in indices:
        paths[index].rename(tmp_path.parent / f"{tmp_path.name}_{index}")


@pytest.fixture
def long_series(tmp_path: Path, write_dicom: Writer) -> list[Path]:
    grid = Geometry((20, 2, 3), (-12.5, 30.25, -100.0), (0.7, 0.8, 2.5))
    return write_dicom(tmp_path, np.zeros((20, 2, 3), np.uint16), grid)


@pytest.mark.parametrize("index", [1, 9, 18])
def test_a_missing_slice_is_reported_with_its_neighbours(tmp_path: Path, long_series: list[Path], index: int) -> None:
    remove(tmp_path, long_series, index)
    below, above = -100 + 2.5 * (index - 1), -100 + 2.5 * (index + 1)
    with pytest.raises(ScanError, match=r"slices are missing or irregular: the usual distance is 2\.500 mm") as caught:
        read_dicom_header(tmp_path)
    assert f"5.000 mm between (-12.5, 30.25, {below:g}) and (-12.5, 30.25, {above:g})" in str(caught.value)


def test_many_gaps_are_cut_short(tmp_path: Path, long_series: list[Path]) -> None:
    remove(tmp_path, long_series, 1, 3, 5, 7, 9, 11)
    with pytest.raises(ScanError, match=r"5\.000 mm between.* and 1 more; complete the series"):
        read_dicom_header(tmp_path)


def test_the_ends_may_be_missing(tmp_path: Path, long_series: list[Path]) -> None:
    remove(tmp_path, long_series, 0, 19)
    geometry = read_dicom_header(tmp_path)
    assert geometry.shape_zyx == (18, 2, 3)
    assert geometry.origin_xyz_mm[2] == -97.5


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_regular(tmp_path: Path, write_dicom: Writer) -> None:
    def change(index: int, header: FileDataset) -> None:
        header.ImagePositionPatient = [-12.5, 30.25, round(index * 0.625, 1)]

    write_dicom(tmp_path, np.zeros((41, 2, 3), np.uint16), Geometry((41, 2, 3), (0, 0, 0), (1, 1, 1)), change=change)
    assert read_dicom_header(tmp_path).spacing_xyz_mm[2] == pytest.approx(0.625)


@pytest.mark.parametrize(("same", "what"), [(True, "copies of one image"), (False, "different images")])
def test_doubled_positions_name_both_files(tmp_path: Path, long_series: list[Path], same: bool, what: str) -> None:
    shutil.copy(long_series[3], tmp_path / "zz.dcm")
    if not same:
        header = pydicom.dcmread(tmp_path / "zz.dcm")
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = UID("1.9")
        header.save_as(tmp_path / "zz.dcm")
    with pytest.raises(ScanError, match=rf"1 slice positions occur twice, first .*-92\.5\) .*zz\.dcm \({what}\)"):
        read_dicom_header(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, 1], r"different orientation: 19 x \(1\.0, .*, 1 x \(0\.0, 1\.0"),
        ("PixelSpacing", [0.9, 0.9], r"different pixel spacings: 19 x \(0\.8, 0\.7\), 1 x \(0\.9, 0\.9\)"),
        ("Rows", 3, r"different sizes: 19 x \(2, 3\), 1 x \(3, 3\)"),
    ],
)
def test_one_slice_unlike_the_others(
    tmp_path: Path, long_series: list[Path], key: str, value: object, message: str
) -> None:
    header = pydicom.dcmread(long_series[5])
    setattr(header, key, value)
    header.save_as(long_series[5])
    with pytest.raises(ScanError, match=message):
        read_dicom_header(tmp_path)


def test_gantry_tilt_is_refused(tmp_path: Path, write_dicom: Writer) -> None:
    def change(index: int, header: FileDataset) -> None:
        header.ImagePositionPatient = [0, index * 0.3, index * 2.5]

    write_dicom(tmp_path, np.zeros((5, 2, 3), np.uint16), Geometry((5, 2, 3), (0, 0, 0), (1, 1, 1)), change=change)
    with pytest.raises(ScanError, match=r"slices slide sideways by up to 1\.20 mm .*gantry tilt"):
        read_dicom_header(tmp_path)


def test_a_single_slice_takes_its_thickness(tmp_path: Path, write_dicom: Writer) -> None:
    grid = Geometry((1, 2, 3), (0, 0, 0), (0.7, 0.8, 1.25))
    (path,) = write_dicom(tmp_path, np.zeros((1, 2, 3), np.uint16), grid)
    assert read_dicom_header(tmp_path).spacing_xyz_mm == (0.7, 0.8, 1.25)
    header = pydicom.dcmread(path)
    header.SliceThickness = None
    header.save_as(path)
    with pytest.raises(ScanError, match="a single slice without SliceThickness"):
        read_dicom_header(tmp_path)


@pytest.mark.parametrize(
    "key", ["RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "PixelSpacing", "SeriesInstanceUID", "Rows"]
)
def test_a_missing_entry_names_file_and_entry(tmp_path: Path, long_series: list[Path], key: str) -> None:
    header = pydicom.dcmread(long_series[5])
    delattr(header, key)
    header.save_as(long_series[5])
    with pytest.raises(
        ScanError, match=rf"{long_series[5].name}: a CT slice with a missing or malformed entry: .*{key}"
    ):
        read_dicom(tmp_path)


def test_malformed_entries(tmp_path: Path, long_series: list[Path]) -> None:
    header = pydicom.dcmread(long_series[5])
    header.ImagePositionPatient = [1, 2]
    header.save_as(long_series[5])
    with pytest.raises(ScanError, match=r"a CT slice needs 3 numbers of ImagePositionPatient.*found 2, 6 and 1"):
        read_dicom(tmp_path)


def test_truncated_files(tmp_path: Path, long_series: list[Path]) -> None:
    content = long_series[5].read_bytes()
    long_series[5].write_bytes(content[:-5])
    with pytest.raises(ScanError, match=rf"{long_series[5].name}: damaged pixels .*copy the file again"):
        read_dicom(tmp_path)
    for count in (*range(132, 600, 7), len(content) - 40):
        long_series[5].write_bytes(content[:count])
        with pytest.raises(ScanError, match=rf"{long_series[5].name}: "):
            read_dicom(tmp_path)


def test_damaged_compressed_pixels(tmp_path: Path, long_series: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    header = pydicom.dcmread(long_series[5])
    header.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    header.PixelData = pydicom.encaps.encapsulate([b"no such stream" * 4])
    header["PixelData"].is_undefined_length = True
    header.save_as(long_series[5])
    with pytest.raises(ScanError, match=rf"{long_series[5].name}: cannot be read as an image"):
        read_dicom(tmp_path)
    assert capfd.readouterr().err == ""


@pytest.mark.realdata
def test_the_real_folder_equals_the_real_slab(realdata: Path) -> None:
    hu, geometry, uid = read_dicom(realdata / "dicom" / "LIDC-IDRI-0001")
    slab = sitk.ReadImage(str(realdata / "luna16_slabs" / "subset0" / f"{uid}.mhd"))
    np.testing.assert_array_equal(hu, sitk.GetArrayFromImage(slab))
    for index_zyx in [(0, 0, 0), (15, 511, 511), (7, 100, 400)]:
        world = slab.TransformIndexToPhysicalPoint(index_zyx[::-1])
        np.testing.assert_allclose(geometry.index_to_world(index_zyx), world, atol=1e-6)
