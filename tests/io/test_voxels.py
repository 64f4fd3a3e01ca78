from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungdet.errors import ScanError
from lungdet.io.voxels import HuArray, as_hu, check_channels, check_dimensions, geometry_of

PATH = Path("scan.mhd")


def test_int16_passes_through_without_a_copy(hu: HuArray) -> None:
    assert as_hu(hu, PATH) is hu


def test_read_only_and_strided_arrays_become_contiguous_and_writable(hu: HuArray) -> None:
    frozen = np.frombuffer(hu.tobytes(), np.int16).reshape(hu.shape)
    for values in (frozen, hu[:, ::-1], hu.transpose(2, 1, 0)):
        result = as_hu(values, PATH)
        assert result.flags.c_contiguous
        assert result.flags.writeable
        np.testing.assert_array_equal(result, values)


def test_floats_are_rounded_to_even_not_truncated() -> None:
    result = as_hu(np.array([-999.6, -0.5, 0.5, 1.5, 2.4, 2.6]).reshape(1, 2, 3), PATH)
    assert result.ravel().tolist() == [-1000, 0, 0, 2, 2, 3]
    assert result.dtype == np.int16


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u4", "i8", "f4", "f8", "?", ">i2"])
def test_other_types_keep_their_values(dtype: str) -> None:
    values = np.array([0, 1, 0, 1, 1, 0]).reshape(1, 2, 3)
    result = as_hu(values.astype(dtype), PATH)
    assert result.dtype == np.int16
    np.testing.assert_array_equal(result, values)


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        (np.array([32767.4]), True),
        (np.array([-32768.5]), True),
        (np.array([32767.5]), False),
        (np.array([32768], np.uint16), False),
        (np.array([-32769], np.int32), False),
        (np.array([2**40], np.int64), False),
    ],
)
def test_the_ends_of_int16(values: np.ndarray[Any, Any], fits: bool) -> None:
    if fits:
        assert abs(int(as_hu(values.reshape(1, 1, 1), PATH).item())) >= 32767
    else:
        with pytest.raises(ScanError, match=r"scan\.mhd: .* do not fit int16 .* slope \+ intercept"):
            as_hu(values.reshape(1, 1, 1), PATH)


def test_nan_is_counted() -> None:
    values = np.zeros((2, 2, 2), np.float32)
    values[0, 0] = (np.nan, np.inf)
    with pytest.raises(ScanError, match=r"scan\.mhd: 2 of 8 voxels are NaN or infinite"):
        as_hu(values, PATH)


def test_complex_numbers_are_no_ct() -> None:
    with pytest.raises(ScanError, match="voxels are complex64"):
        as_hu(np.zeros((1, 1, 1), np.complex64), PATH)


def test_geometry_complaints_carry_the_file_name() -> None:
    grid = {"origin_xyz_mm": (0.0, 0.0, 0.0), "direction": tuple(np.eye(3).ravel())}
    with pytest.raises(ScanError, match=r"scan\.mhd: spacing_xyz_mm must be three positive numbers, got \(1\.0, nan"):
        geometry_of(PATH, (1, 1, 1), spacing_xyz_mm=(1.0, float("nan"), 1.0), **grid)
    assert geometry_of(PATH, (3, 2, 1), spacing_xyz_mm=(1.0, 2.0, 3.0), **grid).spacing_zyx_mm == (3, 2, 1)


def test_dimensions_and_channels() -> None:
    assert check_dimensions(PATH, (3, 2, 1)) == (3, 2, 1)
    with pytest.raises(ScanError, match=r"2 dimensions, sizes \(6, 5\) \(a picture\)"):
        check_dimensions(PATH, (5, 6))
    with pytest.raises(ScanError, match=r"4 dimensions, sizes \(3, 4, 5, 2\) \(several volumes\)"):
        check_dimensions(PATH, (2, 5, 4, 3))
    check_channels(PATH, 1)
    with pytest.raises(ScanError, match=r"scan\.mhd: 3 values per voxel \(a colour or vector image\)"):
        check_channels(PATH, 3)
