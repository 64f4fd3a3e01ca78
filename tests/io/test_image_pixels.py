"""Pixels of patches: rows of HDF5 files in any order, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from PIL import Image

from lungdet.errors import MissingFileError, ScanError, TableError
from lungdet.io.image_pixels import ImagePixels, hdf5_labels, hdf5_rows

PATCHES = np.random.default_rng(0).integers(0, 256, (130, 8, 8, 3)).astype(np.uint8)


def write(path: Path, **arrays: np.typing.NDArray[np.generic]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip" if array.ndim else None)
    return path


def test_rows_in_any_order_and_files_side_by_side(tmp_path: Path) -> None:
    first, second = write(tmp_path / "1.h5", x=PATCHES), write(tmp_path / "2.h5", x=PATCHES[::-1])
    Image.fromarray(PATCHES[0]).save(tmp_path / "a.tif")
    places = {f"1-{row}": (first, row) for row in range(130)} | {f"2-{row}": (second, row) for row in range(130)}
    with ImagePixels({**places, "a": (tmp_path / "a.tif", -1)}) as pixels:
        for row in (0, 63, 64, 129, 128, 1, 65):
            np.testing.assert_array_equal(pixels.read(f"1-{row}"), PATCHES[row])
            np.testing.assert_array_equal(pixels.read(f"2-{row}"), PATCHES[129 - row])
        np.testing.assert_array_equal(pixels.read("a"), PATCHES[0])
        changed = pixels.read("1-0")
        changed[:] = 0
        np.testing.assert_array_equal(pixels.read("1-0"), PATCHES[0])
        with pytest.raises(TableError, match=r"no image 'b' among 261"):
            pixels.read("b")


def test_files_are_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "1.h5", x=PATCHES)
    with ImagePixels({"a": (path, 0)}) as pixels:
        pixels.read("a")
    write(path, x=PATCHES)  # HDF5 refuses to write to a file that is open


def test_rows_and_labels(tmp_path: Path) -> None:
    values = np.array([0, 1, 1, 0], np.uint8)
    for shape in ((4, 1, 1, 1), (4,), (4, 1)):
        path = write(tmp_path / "y.h5", y=values.reshape(shape))
        assert hdf5_labels(path).tolist() == [False, True, True, False]
    assert hdf5_rows(write(tmp_path / "x.h5", x=PATCHES)) == 130


def test_wrong_files(tmp_path: Path) -> None:
    for x in (PATCHES.astype(np.float32), PATCHES[..., 0], PATCHES[..., :2]):
        with pytest.raises(ScanError, match=r"x\.h5: it holds x .*expected an array x, uint8 \[N, H, W, 3\]"):
            hdf5_rows(write(tmp_path / "x.h5", x=x))
    with pytest.raises(ScanError, match=r"it holds no array; expected an array x"):
        hdf5_rows(write(tmp_path / "x.h5"))
    with pytest.raises(TableError, match=r"it holds x uint8 \[130, 8, 8, 3\]; expected an array y, one number a patch"):
        hdf5_labels(write(tmp_path / "x.h5", x=PATCHES))
    with pytest.raises(TableError, match=r"expected an array y"):
        hdf5_labels(write(tmp_path / "y.h5", y=np.zeros((4, 2))))
    with pytest.raises(TableError, match=r"y\.h5: label 2 in row 1, allowed are 0 and 1"):
        hdf5_labels(write(tmp_path / "y.h5", y=np.array([0, 2, 1])))
    with pytest.raises(MissingFileError, match=r"z\.h5: no such file"):
        hdf5_rows(tmp_path / "z.h5")


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", x=PATCHES)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ScanError, match=r"x\.h5: not a readable HDF5 file"):
        hdf5_rows(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=PATCHES, chunks=(64, 8, 8, 3), compression="gzip")
        offset = file["x"].id.get_chunk_info(1).byte_offset
    damaged = bytearray(path.read_bytes())
    damaged[offset : offset + 40] = b"\0" * 40
    path.write_bytes(damaged)
    with ImagePixels({f"{row}": (path, row) for row in range(130)}) as pixels:
        np.testing.assert_array_equal(pixels.read("63"), PATCHES[63])
        with pytest.raises(ScanError, match=r"x\.h5: rows from 64 cannot be read"):
            pixels.read("64")
        np.testing.assert_array_equal(pixels.read("128"), PATCHES[128])
