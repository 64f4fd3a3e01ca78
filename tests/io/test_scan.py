from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungdet.errors import MissingFileError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.scan import SCAN_SUFFIXES, read_header, read_scan, scan_name, scan_suffix
from lungdet.io.voxels import HuArray

UID = "1.3.6.1.4.1.14519"


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".mhd", False),
        (".mhd", True),
        (".mha", False),
        (".mha", True),
        (".nii", False),
        (".nii.gz", True),
        (".nrrd", False),
        (".nrrd", True),
        (".nhdr", False),
    ],
)
def test_every_format_gives_the_same_scan(
    tmp_path: Path, image: sitk.Image, hu: HuArray, oblique: Geometry, suffix: str, compress: bool
) -> None:
    path = tmp_path / f"{UID}{suffix}"
    sitk.WriteImage(image, str(path), compress)
    for given in (path, str(path)):
        scan = read_scan(given)
        assert scan.series_uid == UID
        assert scan.hu.dtype == np.int16
        assert scan.hu.flags.c_contiguous
        assert scan.hu.flags.writeable
        np.testing.assert_array_equal(scan.hu, hu)
        assert scan.geometry == read_header(given)
    corners = [[0, 0, 0], [3, 4, 5]]
    np.testing.assert_allclose(scan.geometry.index_to_world(corners), oblique.index_to_world(corners), atol=1e-4)


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nrrd"])
def test_floats_are_rounded_in_every_format(tmp_path: Path, suffix: str) -> None:
    values = np.array([-999.6, -0.2, 0.4, 1.7, 2.4, 2.6, 3, 4], "f4").reshape(2, 2, 2)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / f"s{suffix}"))
    assert read_scan(tmp_path / f"s{suffix}").hu.ravel().tolist() == [-1000, 0, 0, 2, 2, 3, 3, 4]


def test_a_dicom_folder(tmp_path: Path, write_dicom: Callable[..., list[Path]], hu: HuArray, oblique: Geometry) -> None:
    stored = (hu.astype("i4") + 1024).astype("u2")
    write_dicom(tmp_path / "a", stored, oblique, series_uid="1.2.3")
    scan = read_scan(tmp_path)
    np.testing.assert_array_equal(scan.hu, hu)
    assert scan.series_uid == "1.2.3"
    assert scan.geometry == read_header(tmp_path)
    write_dicom(tmp_path / "b", stored, oblique, series_uid="1.2.4")
    with pytest.raises(ScanError, match="holds 2 CT series"):
        read_header(tmp_path)
    assert read_scan(tmp_path, series_uid="1.2.4").series_uid == "1.2.4"
    assert read_header(tmp_path, series_uid="1.2.4") == scan.geometry


def test_variants_that_only_simpleitk_reads(tmp_path: Path) -> None:
    (tmp_path / "s.mhd").write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = False\nElementSpacing = 1 2 3\nDimSize = 2 2 2\n"
        "ElementType = MET_SHORT\nElementDataFile = s.raw\n"
    )
    (tmp_path / "s.raw").write_text("1 2 3 4 5 6 7 8\n")
    scan = read_scan(tmp_path / "s.mhd")
    assert scan.hu.ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert scan.geometry == read_header(tmp_path / "s.mhd")
    assert scan.geometry.spacing_xyz_mm == (1, 2, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s.raw", r"s\.raw: the voxels of a \.mhd file: give the \.mhd beside it"),
        ("s.dcm", "one DICOM slice: give the folder that holds the series"),
        (
            "s.png",
            r"not a format that lungdet reads\. Scans are \.mhd, \.mha, \.nii, \.nii\.gz, \.nrrd, \.nhdr files or a",
        ),
        ("s", "not a format that lungdet reads"),
    ],
)
def test_unknown_suffixes_say_what_to_give(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    for read in (read_scan, read_header):
        with pytest.raises(ScanError, match=message):
            read(tmp_path / name)


def test_what_is_not_there(tmp_path: Path) -> None:
    for read in (read_scan, read_header):
        with pytest.raises(MissingFileError, match=r"s\.mhd: no such file or folder"):
            read(tmp_path / "s.mhd")
        with pytest.raises(MissingFileError, match="no files in this folder"):
            read(tmp_path)


def test_series_uid_belongs_to_dicom_folders(tmp_path: Path, image: sitk.Image) -> None:
    sitk.WriteImage(image, str(tmp_path / "s.mha"))
    assert read_scan(tmp_path / "s.mha", series_uid="s").series_uid == "s"
    with pytest.raises(ScanError, match=r"series_uid='t' chooses among the series of a DICOM folder"):
        read_scan(tmp_path / "s.mha", series_uid="t")


@pytest.mark.parametrize("suffix", SCAN_SUFFIXES)
def test_names(suffix: str) -> None:
    assert scan_name(Path(f"/data/{UID}{suffix}")) == UID
    assert scan_suffix(Path(f"{UID}{suffix.upper()}")) == suffix
    assert scan_name(Path("1.2.3")) == "1.2.3"


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("damage", ["empty", "garbage", "half"])
def test_damage_of_any_kind_is_a_scan_error_and_stderr_stays_empty(
    tmp_path: Path, image: sitk.Image, capfd: pytest.CaptureFixture[str], suffix: str, damage: str
) -> None:
    path = tmp_path / f"s{suffix}"
    sitk.WriteImage(image, str(path), suffix != ".nii")
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "garbage": b"\x07garbage" * 200, "half": content[: len(content) // 2]}[damage])
    with pytest.raises(ScanError, match=rf"s{suffix}: ".replace(".", r"\.")):
        read_scan(path)
    assert capfd.readouterr().err == ""


@pytest.mark.realdata
def test_the_real_scan_agrees_with_simpleitk(realdata: Path) -> None:
    (path,) = (realdata / "luna16" / "subset3").glob("*.mhd")
    scan = read_scan(path)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(scan.hu, sitk.GetArrayViewFromImage(image))
    assert scan.series_uid == path.stem
    assert scan.geometry.spacing_xyz_mm == image.GetSpacing()
    for index_zyx in [(0, 0, 0), (132, 511, 511)]:
        world = image.TransformIndexToPhysicalPoint(index_zyx[::-1])
        np.testing.assert_allclose(scan.geometry.index_to_world(index_zyx), world, atol=1e-9)
