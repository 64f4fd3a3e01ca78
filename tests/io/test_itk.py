from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.itk import read_itk, read_itk_header
from lungdet.io.voxels import HuArray


@pytest.fixture
def nrrd(tmp_path: Path, image: sitk.Image) -> Path:
    sitk.WriteImage(image, str(tmp_path / "s.nrrd"))
    return tmp_path / "s.nrrd"


def test_voxels_and_grid(nrrd: Path, hu: HuArray, oblique: Geometry) -> None:
    values, geometry = read_itk(nrrd)
    np.testing.assert_array_equal(values, hu)
    assert values.flags.owndata
    assert geometry == read_itk_header(nrrd)
    assert geometry.shape_zyx == oblique.shape_zyx
    np.testing.assert_allclose(geometry.index_to_world([3, 4, 5]), oblique.index_to_world([3, 4, 5]), atol=1e-9)


@pytest.mark.parametrize("content", [b"", b"no image at all" * 50])
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.nrrd").write_bytes(content)
    with pytest.raises(ScanError, match=r"s\.nrrd: cannot be read as an image: .*Unable to determine ImageIO reader"):
        read_itk_header(tmp_path / "s.nrrd")


def test_a_truncated_file_tells_how_much_is_missing(nrrd: Path) -> None:
    nrrd.write_bytes(nrrd.read_bytes()[:-40])
    with pytest.raises(ScanError, match=r"s\.nrrd: cannot be read.*got only 100 2-sized things, not 120"):
        read_itk(nrrd)


def test_libraries_below_simpleitk_do_not_reach_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.mha"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), "i2")), str(path))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RuntimeError):
        sitk.ReadImage(str(path))
    assert "data not read completely" in capfd.readouterr().err  # so it does without us
    with pytest.raises(ScanError, match=r"ideal = 48 : actual = 38"):
        read_itk(path)
    assert capfd.readouterr().err == ""


def test_stderr_is_given_back(nrrd: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read_itk(nrrd)
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_threads_do_not_lose_stderr(nrrd: Path, hu: HuArray, capfd: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        for values, _ in pool.map(read_itk, [nrrd] * 40):
            np.testing.assert_array_equal(values, hu)
    os.write(2, b"still here")
    assert capfd.readouterr().err == "still here"


def test_chatter_of_a_successful_read_goes_to_the_log(
    tmp_path: Path, image: sitk.Image, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.nii"
    image.SetDirection(np.eye(3).ravel().tolist())
    sitk.WriteImage(image, str(path))
    content = bytearray(path.read_bytes())
    content[280:284] = np.float32(-1.4).tobytes()  # srow_x disagrees with pixdim: SimpleITK reads on and says so
    path.write_bytes(content)
    with caplog.at_level(logging.DEBUG, "lungdet.io.itk"):
        read_itk(path)
    assert capfd.readouterr().err == ""
    assert "has unexpected scales in sform" in caplog.text
