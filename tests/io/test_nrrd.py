from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.nrrd import read_nrrd, read_nrrd_header
from lungdet.io.voxels import HuArray


@pytest.fixture
def nrrd(tmp_path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(tmp_path / "s.nrrd"))
    return tmp_path / "s.nrrd"


def with_line(path: Path, start: str, line: str) -> Path:
    head, blank, voxels = path.read_bytes().partition(b"\n\n")
    lines = [line if old.startswith(start) else old for old in head.decode().split("\n")]
    path.write_bytes("\n".join(lines).encode() + blank + voxels)
    return path


@pytest.mark.parametrize("compress", [False, True])
def test_voxels_and_grid(tmp_path: Path, image: sitk.Image, hu: HuArray, oblique: Geometry, compress: bool) -> None:
    sitk.WriteImage(image, str(tmp_path / "s.nrrd"), compress)
    values, geometry = read_nrrd(tmp_path / "s.nrrd")
    np.testing.assert_array_equal(values, hu)
    assert geometry == read_nrrd_header(tmp_path / "s.nrrd")
    np.testing.assert_allclose(geometry.index_to_world([3, 4, 5]), oblique.index_to_world([3, 4, 5]), atol=1e-9)


def test_ras_is_turned_to_lps(nrrd: Path, oblique: Geometry) -> None:
    ras = read_nrrd_header(with_line(nrrd, "space:", "space: right-anterior-superior"))
    np.testing.assert_allclose(
        ras.index_to_world([3, 4, 5]), oblique.index_to_world([3, 4, 5]) * (-1, -1, 1), atol=1e-9
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "space directions: (nan,nan,nan) (0,1,0) (0,0,1)",
            r"s\.nrrd: space directions = \(nan,nan,nan\) .* not numbers",
        ),
        ("space directions: none (0,1,0) (0,0,1)", r"space directions = none .* are not numbers"),
        (
            "space directions: (0,0,0) (0,1,0) (0,0,1)",
            r"s\.nrrd: spacing_xyz_mm must be three positive numbers, got \(0\.0",
        ),
        ("space directions: (1,0.5,0) (0,1,0) (0,0,1)", r"s\.nrrd: direction must be orthonormal"),
        ("# nothing", r"s\.nrrd: the header gives neither 'space directions' nor 'spacings'"),
    ],
)
def test_impossible_grids(nrrd: Path, line: str, message: str) -> None:
    path = with_line(nrrd, "space directions", line)
    for read in (read_nrrd, read_nrrd_header):
        with pytest.raises(ScanError, match=message):
            read(path)


@pytest.mark.parametrize("compress", [False, True])
def test_truncation(tmp_path: Path, image: sitk.Image, compress: bool) -> None:
    path = tmp_path / "s.nrrd"
    sitk.WriteImage(image, str(path), compress)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ScanError, match=r"s\.nrrd: cannot be read as an image"):
        read_nrrd(path)


def test_a_header_that_does_not_end(nrrd: Path) -> None:
    path = with_line(nrrd, "space directions", "# nothing")
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    path.with_suffix(".raw").write_bytes(voxels)
    path.with_suffix(".nhdr").write_bytes(head + b"\ndata file: s.raw\n")
    with pytest.raises(ScanError, match=r"s\.nhdr: the header gives neither"):
        read_nrrd(path.with_suffix(".nhdr"))


def test_colour_and_dimensions(tmp_path: Path) -> None:
    path = tmp_path / "s.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 3), "u1"), isVector=True), str(path))
    with pytest.raises(ScanError, match=r"s\.nrrd: 3 values per voxel"):
        read_nrrd(path)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4), "i2")), str(path))
    with pytest.raises(ScanError, match=r"s\.nrrd: the image has 2 dimensions"):
        read_nrrd_header(path)
