"""Pixels of images that lie in files of their own or in rows of HDF5 files, one at a time or in file order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py  # type: ignore[import-untyped]
import numpy as np
import numpy.typing as npt

from lungdet.errors import MissingFileError, ScanError, TableError
from lungdet.io.image_file import read_image

# Rows read in one go: 64 patches of 96 x 96 x 3 are 1.7 MB, and HDF5 unpacks a chunk of several rows only once.
_BLOCK = 64


class ImagePixels:
    """Read images by id. HDF5 files are opened at the first image of theirs and closed at the end of the `with` block.

    An object belongs to one thread and one process: open one in each.

    Args:
        places: image id -> (file, row in it, -1 for an image file).
        channels: 1 for grey, 3 for RGB; how files are read that hold the other (`read_image`).
    """

    def __init__(self, places: Mapping[str, tuple[Path, int]], *, channels: Literal[1, 3] = 3) -> None:
        self._places = places
        self._channels = channels
        self._open: dict[Path, Any] = {}
        self._block: tuple[Path, int, npt.NDArray[np.uint8]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()
        self._block = None

    def read(self, image_id: str) -> npt.NDArray[np.uint8]:
        """One image, uint8 [H, W] grey or [H, W, 3] RGB, a copy; rows of HDF5 files are RGB.

        Raises:
            MissingFileError: the file is gone.
            ScanError: it is damaged, or its row cannot be read.
            TableError: no image of that id.
        """
        if image_id not in self._places:
            raise TableError(f"no image {image_id!r} among {len(self._places)}")
        path, row = self._places[image_id]
        if row < 0:
            return read_image(path, channels=self._channels)
        start = row - row % _BLOCK
        if self._block is None or self._block[:2] != (path, start):
            self._block = (path, start, self._rows(path, start))
        return np.array(self._block[2][row - start], np.uint8)

    def _rows(self, path: Path, start: int) -> npt.NDArray[np.uint8]:
        if path not in self._open:
            self._open[path] = open_hdf5(path)
        try:
            return np.asarray(self._open[path]["x"][start : start + _BLOCK])
        except OSError as error:
            raise ScanError(f"{path}: rows from {start} cannot be read ({error}); download it again") from error


def open_hdf5(path: Path) -> Any:
    """The file, open for reading.

    Raises:
        MissingFileError: no such file.
        ScanError: no HDF5 file, or not all of one.
    """
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ScanError(f"{path}: not a readable HDF5 file ({error}); download it again") from error


def hdf5_rows(path: Path) -> int:
    """Number of patches in a file of images.

    Raises:
        MissingFileError, ScanError: as `open_hdf5`; no array `x` of uint8 [N, H, W, 3].
    """
    with open_hdf5(path) as file:
        images = file.get("x")
        if not isinstance(images, h5py.Dataset) or images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ScanError(f"{path}: {_held(file)}; expected an array x, uint8 [N, H, W, 3]")
        return int(images.shape[0])


def hdf5_labels(path: Path) -> npt.NDArray[np.bool_]:
    """Labels of a file, bool [N].

    Raises:
        MissingFileError, ScanError: as `open_hdf5`.
        TableError: no array `y` with one 0 or 1 a patch.
    """
    with open_hdf5(path) as file:
        labels = file.get("y")
        if not isinstance(labels, h5py.Dataset) or not labels.ndim or int(np.prod(labels.shape[1:])) != 1:
            raise TableError(f"{path}: {_held(file)}; expected an array y, one number a patch")
        values = labels[...].reshape(-1)
    if not np.isin(values, (0, 1)).all():
        row = int(np.argmin(np.isin(values, (0, 1))))
        raise TableError(f"{path}: label {values[row]} in row {row}, allowed are 0 and 1")
    return np.asarray(values == 1)


def _held(file: Any) -> str:
    held = [f"{name} {item.dtype} {list(item.shape)}" for name, item in file.items() if isinstance(item, h5py.Dataset)]
    return f"it holds {', '.join(held) or 'no array'}"
