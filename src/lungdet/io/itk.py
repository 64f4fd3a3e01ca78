"""SimpleITK behind one door: headers and volumes of the formats it knows, its errors and its chatter made ours."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.voxels import check_channels, geometry_of

_log = logging.getLogger(__name__)
_stderr_turn = threading.Lock()


def read_itk_header(path: Path) -> Geometry:
    """The grid of an image file, without its voxels.

    Raises:
        ScanError: SimpleITK cannot read it; not three dimensions; several values per voxel; an impossible grid.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with _translated(path):
        reader.ReadImageInformation()
    check_channels(path, int(reader.GetNumberOfComponents()))
    return geometry_of(
        path,
        tuple(reader.GetSize()[::-1]),
        origin_xyz_mm=tuple(reader.GetOrigin()),
        spacing_xyz_mm=tuple(reader.GetSpacing()),
        direction=tuple(reader.GetDirection()),
    )


def read_itk(path: Path) -> tuple[npt.NDArray[Any], Geometry]:
    """Voxels [D, H, W] as stored (rescaled where the format says so) and the grid.

    Raises:
        ScanError: as `read_itk_header`, or damaged voxels.
    """
    geometry = read_itk_header(path)
    with _translated(path):
        image = sitk.ReadImage(str(path))
    values: npt.NDArray[Any] = np.array(sitk.GetArrayViewFromImage(image))
    return values, geometry


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turns SimpleITK's RuntimeError into ScanError and keeps its libraries off stderr.

    MetaIO, the NIfTI library and GDCM print to the process's stderr whatever ITK's own warning switch says, hence the
    file descriptor: what they print goes into the error text, or to the log at level DEBUG when the read succeeds.
    The descriptor belongs to the whole process, so threads take turns.
    """
    with _stderr_turn, tempfile.TemporaryFile() as spool:
        kept = os.dup(2)
        try:
            os.dup2(spool.fileno(), 2)
            failure: RuntimeError | None = None
            try:
                yield
            except RuntimeError as error:
                failure = error
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        spool.seek(0)
        said = spool.read().decode("utf-8", "replace").strip()
    if failure is not None:
        raise ScanError(f"{path}: cannot be read as an image: {_gist(str(failure), said)}") from failure
    if said:
        _log.debug("%s: %s", path, said)


def _gist(message: str, said: str) -> str:
    """The lines of an ITK exception that tell a person something."""
    lines = [line.strip() for line in f"{message}\n{said}".splitlines()]
    dull = ("Exception thrown in SimpleITK", "sitk::ERROR: The file", "Reason: ")
    told = [line for line in lines if line and not line.startswith(dull)]
    return "; ".join(told) or message
