"""CT-like scans to measure on: drawn chests with vessels and scanner noise, in LUNA16's format, always the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from lungdet.geometry import Geometry

#: Noise of a low-dose scan; it decides how well the chunks compress and so how long they take to decode.
NOISE_HU = 22.0
_NOISE_SAMPLES = 1 << 22

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Collection:
    """How many scans of which size."""

    count: int
    shape_zyx: tuple[int, int, int]
    spacing_xyz_mm: tuple[float, float, float]


def scans_for(folder: Path, collection: Collection) -> dict[str, Path]:
    """The scans of a collection in `folder`, drawn unless a benchmark before this one has drawn them.

    Returns:
        series_uid -> path of the .mhd file.
    """
    target = folder / f"scans_{collection.count}x{'x'.join(map(str, collection.shape_zyx))}"
    if target.is_dir():
        return {path.name.removesuffix(".mhd"): path for path in sorted(target.glob("*.mhd"))}
    return write_scans(
        target,
        count=collection.count,
        shape_zyx=collection.shape_zyx,
        spacing_xyz_mm=collection.spacing_xyz_mm,
    )


def write_scans(
    folder: Path,
    *,
    count: int,
    shape_zyx: tuple[int, int, int],
    spacing_xyz_mm: tuple[float, float, float],
    seed: int = 0,
) -> dict[str, Path]:
    """Draw `count` chests into `folder` as .mhd + .raw.

    Args:
        folder: made when missing.
        count: number of scans.
        shape_zyx: voxels of each.
        spacing_xyz_mm: voxel spacing of each.
        seed: other seeds draw other patients.

    Returns:
        series_uid -> path of the .mhd file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for n in range(count):
        uid = f"1.2.826.0.1.{seed}.{n}"
        geometry = Geometry(shape_zyx, (-160.0, -150.0, -300.0 + 10 * n), spacing_xyz_mm)
        paths[uid] = _write_metaimage(folder / f"{uid}.mhd", draw_chest(shape_zyx, seed=seed * 1000 + n), geometry)
    return paths


def draw_chest(shape_zyx: tuple[int, int, int], *, seed: int) -> npt.NDArray[np.int16]:
    """One chest: int16 [D, H, W], HU; body, lungs with vessels, spine, table, padding of -2048 outside the field."""
    rng = np.random.default_rng(seed)
    depth, height, width = shape_zyx
    y, x = (
        axis.astype(np.float32)
        for axis in np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    )
    vessels, texture = (_smooth_field(rng, shape_zyx, cell) for cell in (7, 24))
    noise = rng.standard_normal(_NOISE_SAMPLES, dtype=np.float32) * NOISE_HU
    field_of_view = x**2 + y**2 <= 1
    hu = np.empty(shape_zyx, np.int16)
    for z in range(depth):
        # Lungs are widest in the middle and reach neither end.
        size = 0.35 + 0.65 * np.sin(np.pi * np.clip((z + 0.5) / depth, 0.02, 0.98)) ** 0.5
        plane = np.full((height, width), -1000, np.float32)
        body = (x / 0.88) ** 2 + ((y + 0.05) / 0.66) ** 2
        plane[body <= 1] = -100  # fat
        muscle = body <= 0.85
        plane[muscle] = 40 + 20 * texture[z][muscle]
        for side in (-1, 1):
            lung = ((x - side * 0.38) / (0.27 * size)) ** 2 + ((y + 0.07) / (0.42 * size)) ** 2 <= 1
            plane[lung] = np.where(vessels[z][lung] > 1.7, 40, -860 + 35 * texture[z][lung])
        plane[x**2 + (y - 0.42) ** 2 <= 0.11**2] = 350  # spine
        plane[(y > 0.72) & (y < 0.75) & (np.abs(x) < 0.6)] = 150  # table
        start = int(rng.integers(0, _NOISE_SAMPLES - plane.size)) if plane.size < _NOISE_SAMPLES else 0
        plane += np.resize(noise[start : start + plane.size], plane.shape)
        plane[~field_of_view] = -2048
        hu[z] = np.rint(plane)
    return hu


def _smooth_field(rng: np.random.Generator, shape_zyx: tuple[int, int, int], cell: int) -> FloatArray:
    """Random values with structure of about `cell` voxels, deviation about 1: float32 [D, H, W]."""
    depth, height, width = shape_zyx
    coarse = rng.standard_normal([-(-n // cell) + 2 for n in shape_zyx], dtype=np.float32) * 1.7
    field = np.empty(shape_zyx, np.float32)
    planes = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in coarse]
    for z in range(depth):
        low, weight = divmod(z / cell, 1)
        field[z] = (1 - weight) * planes[int(low)] + weight * planes[int(low) + 1]
    return field


def _write_metaimage(path: Path, hu: npt.NDArray[np.int16], geometry: Geometry) -> Path:
    hu.tofile(path.with_suffix(".raw"))

    def written(values: npt.ArrayLike) -> str:
        return " ".join(str(v) for v in np.ravel(values).tolist())

    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"TransformMatrix = {written(np.reshape(geometry.direction, (3, 3)).T)}",
        f"Offset = {written(geometry.origin_xyz_mm)}",
        f"ElementSpacing = {written(geometry.spacing_xyz_mm)}",
        f"DimSize = {written(geometry.shape_zyx[::-1])}",
        "ElementType = MET_SHORT",
        f"ElementDataFile = {path.with_suffix('.raw').name}",
    ]
    path.write_text("\n".join([*lines, ""]))
    return path
