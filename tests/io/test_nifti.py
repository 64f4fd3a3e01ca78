"""Our NIfTI voxels against SimpleITK's, the LPS convention, and the truncation that SimpleITK does not notice."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.nifti import read_nifti, read_nifti_header
from lungdet.io.voxels import HuArray


def patched(path: Path, offset: int, layout: str, *values: float) -> Path:
    """The same file with some header fields overwritten."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.fixture
def nifti(tmp_path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(tmp_path / "s.nii"))
    return tmp_path / "s.nii"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_oblique_scan_keeps_its_world_coordinates(
    tmp_path: Path, image: sitk.Image, hu: HuArray, oblique: Geometry, suffix: str
) -> None:
    path = tmp_path / f"s{suffix}"
    sitk.WriteImage(image, str(path))
    values, geometry = read_nifti(path)
    np.testing.assert_array_equal(values, hu)
    assert values.dtype == np.int16
    assert geometry == read_nifti_header(path)
    # NIfTI stores float32, so the grid comes back to seven digits.
    np.testing.assert_allclose(geometry.index_to_world([3, 4, 5]), oblique.index_to_world([3, 4, 5]), atol=1e-4)


@pytest.mark.parametrize(
    "kind",
    [
        sitk.sitkUInt8,
        sitk.sitkInt8,
        sitk.sitkUInt16,
        sitk.sitkInt16,
        sitk.sitkUInt32,
        sitk.sitkInt32,
        sitk.sitkInt64,
        sitk.sitkUInt64,
        sitk.sitkFloat32,
        sitk.sitkFloat64,
    ],
)
def test_every_type_agrees_with_simpleitk(tmp_path: Path, kind: int) -> None:
    image = sitk.Cast(sitk.GetImageFromArray(np.arange(24, dtype="i2").reshape(2, 3, 4)), kind)
    sitk.WriteImage(image, str(tmp_path / "s.nii"))
    values, _ = read_nifti(tmp_path / "s.nii")
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "s.nii")))
    assert values.dtype == theirs.dtype
    np.testing.assert_array_equal(values, theirs)


@pytest.mark.parametrize(("slope", "intercept"), [(2.0, -1024.0), (0.5, 0.25), (1.0, -1000.0)])
def test_scaling_agrees_with_simpleitk(nifti: Path, slope: float, intercept: float) -> None:
    values, _ = read_nifti(patched(nifti, 112, "<2f", slope, intercept))
    np.testing.assert_allclose(values, sitk.GetArrayFromImage(sitk.ReadImage(str(nifti))), rtol=1e-7)
    assert values.dtype == np.float32


def test_scaling_of_wide_integers_is_done_in_double(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.full((2, 3, 4), 16_777_217, "i4")), str(tmp_path / "s.nii"))
    values, _ = read_nifti(patched(tmp_path / "s.nii", 112, "<2f", 1.0, -16_777_216.0))
    assert np.unique(values).tolist() == [1.0]


@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_a_slope_of_zero_means_no_scaling(nifti: Path, hu: HuArray, slope: float) -> None:
    values, _ = read_nifti(patched(nifti, 112, "<2f", slope, 5.0))
    np.testing.assert_array_equal(values, hu)


def test_big_endian(tmp_path: Path) -> None:
    header = bytearray(352)
    struct.pack_into(">i", header, 0, 348)
    struct.pack_into(">8h", header, 40, 3, 4, 3, 2, 1, 1, 1, 1)
    struct.pack_into(">2h", header, 70, 4, 16)
    struct.pack_into(">8f", header, 76, 1, 0.5, 0.6, 2.5, 0, 0, 0, 0)
    struct.pack_into(">f", header, 108, 352)
    header[344:348] = b"n+1\0"
    path = tmp_path / "s.nii"
    path.write_bytes(bytes(header) + np.arange(24, dtype=">i2").tobytes())
    values, geometry = read_nifti(path)
    np.testing.assert_array_equal(values, np.arange(24).reshape(2, 3, 4))
    np.testing.assert_array_equal(values, sitk.GetArrayFromImage(sitk.ReadImage(str(path))))
    np.testing.assert_allclose(geometry.spacing_zyx_mm, (2.5, 0.6, 0.5), rtol=1e-6)


def test_a_time_axis_of_one_is_dropped(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((1, 2, 3, 4), "i2"), isVector=False), str(tmp_path / "s.nii"))
    values, geometry = read_nifti(tmp_path / "s.nii")
    assert values.shape == geometry.shape_zyx == (2, 3, 4)


@pytest.mark.parametrize(("shape", "count"), [((3, 4), 2), ((2, 2, 3, 4), 4)])
def test_pictures_and_series_of_volumes_are_refused(tmp_path: Path, shape: tuple[int, ...], count: int) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros(shape, "i2"), isVector=False), str(tmp_path / "s.nii"))
    for read in (read_nifti, read_nifti_header):
        with pytest.raises(ScanError, match=rf"s\.nii: the image has {count} dimensions"):
            read(tmp_path / "s.nii")


def test_colour_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 3), "u1"), isVector=True), str(tmp_path / "s.nii"))
    with pytest.raises(ScanError, match=r"s\.nii: 3 values per voxel"):
        read_nifti(tmp_path / "s.nii")


@pytest.mark.parametrize(
    ("offset", "layout", "values", "message"),
    [
        (0, "<i", (540,), "not a NIfTI-1 single-file image"),
        (344, "<4s", (b"ni1\0",), "not a NIfTI-1 single-file image"),
        (40, "<8h", (9, 4, 3, 2, 1, 1, 1, 1), r"impossible sizes in the header: dim = \(9"),
        (40, "<8h", (3, 4, 0, 2, 1, 1, 1, 1), "impossible sizes"),
        (70, "<h", (32,), "voxel type 32 is not supported; allowed are"),
        (80, "<f", (float("nan"),), r"s\.nii: spacing \(pixdim\) is \(nan"),
        (88, "<f", (0.0,), r"must be positive numbers"),
        (108, "<f", (float("nan"),), "impossible vox_offset nan"),
        (108, "<f", (16.0,), "impossible vox_offset 16.0"),
    ],
)
def test_header_errors(nifti: Path, offset: int, layout: str, values: tuple[float, ...], message: str) -> None:
    path = patched(nifti, offset, layout, *values)
    for read in (read_nifti, read_nifti_header):
        with pytest.raises(ScanError, match=message):
            read(path)


def test_a_sheared_grid_is_refused(nifti: Path) -> None:
    patched(nifti, 252, "<2h", 0, 1)  # only the affine (sform) speaks
    patched(nifti, 280, "<12f", 1, 0.5, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0)
    with pytest.raises(ScanError, match=r"s\.nii: .*orthonormal"):
        read_nifti_header(nifti)


def test_missing_and_surplus_bytes_are_counted(nifti: Path) -> None:
    content = nifti.read_bytes()
    nifti.write_bytes(content[:-40])
    with pytest.raises(ScanError, match=r"expected 240 bytes of voxels \(6, 5, 4\), found 200; copy the file again"):
        read_nifti(nifti)
    nifti.write_bytes(content + b"\0\0")
    with pytest.raises(ScanError, match=r"found 242; the sizes in the header do not belong to them"):
        read_nifti(nifti)
    nifti.write_bytes(content[:100])
    with pytest.raises(ScanError, match="its first 100 bytes are no such header"):
        read_nifti(nifti)


@pytest.mark.parametrize("damage", ["cut", "check sum", "middle"])
def test_a_damaged_gzip_stream(nifti: Path, damage: str) -> None:
    content = bytearray(gzip.compress(nifti.read_bytes()))
    if damage == "cut":
        content = content[:-60]
    elif damage == "check sum":
        content[-6] ^= 0xFF
    else:
        content[len(content) // 2] ^= 0xFF
    path = nifti.with_suffix(".nii.gz")
    path.write_bytes(content)
    with pytest.raises(ScanError, match=r"s\.nii\.gz: the gzip stream is damaged or cut short .*; copy the file again"):
        read_nifti(path)
