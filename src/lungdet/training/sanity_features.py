"""What can be known of a crop without looking at its middle: its outer shell of voxels, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.data.candidate_dataset import CENTER_COLUMNS
from lungdet.data.ct import CtDataModule
from lungdet.geometry import Geometry

#: Voxels on each side that count as border.
SHELL_VOX = 2
_PERCENTILES = (5, 25, 50, 75, 95)
# Air, lung, partial volume and ground glass, soft tissue, contrast and bone.
_BIN_EDGES_HU = (-950, -700, -300, 0, 150)
_CROPS_AT_ONCE = 256

FloatArray = npt.NDArray[np.float64]
HuArray = npt.NDArray[np.int16]


def border_features(datamodule: CtDataModule, rows: npt.NDArray[np.intp]) -> pd.DataFrame:
    """Statistics of the outermost voxels of each crop, as evaluation shows it: no augmentation, HU before the window.

    Args:
        datamodule: after setup.
        rows: of its records, N of them.

    Returns:
        float64 [N, F]: mean, standard deviation, percentiles and a coarse histogram of the shell, and mean and standard
        deviation of each of the six faces.
    """
    dataset = datamodule.samples.dataset(
        datamodule.store, datamodule.records, shape_zyx=_volume_shape(datamodule), training=False
    )
    # Scan by scan: reading is fastest where the last box was.
    order = np.argsort(datamodule.records["series_uid"].to_numpy()[rows], kind="stable")
    found: list[FloatArray] = []
    for start in range(0, len(rows), _CROPS_AT_ONCE):
        batch = dataset.__getitems__(rows[order[start : start + _CROPS_AT_ONCE]].tolist())
        found.append(shell_statistics(batch["hu"].numpy()[:, 0]))
    values = np.empty((len(rows), len(SHELL_NAMES)))
    if found:
        values[order] = np.concatenate(found)
    return pd.DataFrame(values, columns=list(SHELL_NAMES))


def shell_statistics(hu: HuArray) -> FloatArray:
    """Features of the outer shell.

    Args:
        hu: int16 [N, D, H, W].

    Returns:
        float64 [N, F], columns as in `SHELL_NAMES`; nothing farther than `SHELL_VOX` from the border enters.
    """
    inside = np.zeros(hu.shape[1:], bool)
    inside[tuple(slice(SHELL_VOX, n - SHELL_VOX) for n in hu.shape[1:])] = True
    shell = hu[:, ~inside].astype(np.float64)
    columns = [shell.mean(axis=1), shell.std(axis=1), *np.percentile(shell, _PERCENTILES, axis=1)]
    for low, high in _bins():
        columns.append(((shell >= low) & (shell < high)).mean(axis=1))
    for face in _faces():
        voxels = hu[(slice(None), *face)].reshape(len(hu), -1).astype(np.float64)
        columns += [voxels.mean(axis=1), voxels.std(axis=1)]
    return np.stack(columns, axis=1)


def metadata_features(datamodule: CtDataModule, rows: npt.NDArray[np.intp]) -> pd.DataFrame:
    """Where each crop comes from, without any voxel of it.

    Args:
        datamodule: after setup.
        rows: of its records, N of them.

    Returns:
        float64 [N, F]: spacing and shape of the scan and of its stored volume, orientation, the crop's place in the
        scan and in the box around the lungs (stores with masks), its distance from the scan's border, the share of it
        that is padding; NaN for the place of a crop that lies in no scan.
    """
    records = datamodule.records.iloc[rows]
    centers = records[CENTER_COLUMNS].to_numpy(np.float64)
    shape = _volume_shape(datamodule)
    tables = []
    for uid, places in records.reset_index(drop=True).groupby("series_uid", sort=False).indices.items():
        geometry = datamodule.store.geometry(str(uid))
        table = place_in_scan(geometry, centers[places], shape)
        if datamodule.store.spec.lung_mask:
            table |= _place_in_lungs(datamodule.store.lung_mask(str(uid)), geometry, centers[places])
        source = datamodule.store.source_geometry(str(uid))
        constants = {**_constants("scan", source), **_constants("stored", geometry)}
        constants |= {f"direction {axis}": value for axis, value in zip("xyz", _diagonal(source), strict=True)}
        tables.append(pd.DataFrame(table, index=places).assign(**constants))
    return pd.concat(tables).sort_index().reset_index(drop=True)


def place_in_scan(geometry: Geometry, centers_xyz_mm: FloatArray, shape_zyx: Sequence[int]) -> dict[str, FloatArray]:
    """Relative position, distance to the border, and share of padding of crops around these points.

    Args:
        geometry: of the stored volume.
        centers_xyz_mm: [N, 3].
        shape_zyx: voxels of a crop.
    """
    index = geometry.world_to_index(centers_xyz_mm)
    whole = np.asarray(geometry.shape_zyx, np.float64)
    is_near: npt.NDArray[np.bool_] = np.all(np.abs(index - whole / 2) <= whole, axis=1)  # not noise, which lies nowhere
    start = np.rint(index) - np.asarray(shape_zyx) // 2
    inside = np.minimum(start + shape_zyx, whole) - np.maximum(start, 0)
    padding = 1 - (np.clip(inside, 0, None) / np.asarray(shape_zyx)).prod(axis=1)
    to_border = np.minimum(index, whole - 1 - index) * np.asarray(geometry.spacing_zyx_mm)
    place = np.where(is_near[:, None], index / whole, np.nan)
    columns = {f"{axis} in scan": place[:, k] for k, axis in enumerate("zyx")}
    columns["distance to border, mm"] = np.where(is_near, to_border.min(axis=1), np.nan)
    return {**columns, "padding share": padding}


def _place_in_lungs(
    mask: npt.NDArray[np.uint8], geometry: Geometry, centers_xyz_mm: FloatArray
) -> dict[str, FloatArray]:
    index = geometry.world_to_index(centers_xyz_mm)
    lungs = mask > 0
    spans = [np.flatnonzero(lungs.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    columns = {}
    for k, axis in enumerate("zyx"):
        low, high = (spans[k][0], spans[k][-1]) if len(spans[k]) else (0, 0)
        columns[f"{axis} in lungs"] = np.clip((index[:, k] - low) / max(1, high - low), -1.0, 2.0)
    voxel = np.rint(index).astype(np.int64)
    is_inside = ((voxel >= 0) & (voxel < mask.shape)).all(axis=1)
    in_lungs = np.zeros(len(voxel))
    in_lungs[is_inside] = lungs[tuple(voxel[is_inside].T)]
    return {**columns, "centre in lung mask": in_lungs}


def _constants(name: str, geometry: Geometry) -> dict[str, float]:
    spacing = {f"{name} spacing {axis}, mm": float(v) for axis, v in zip("zyx", geometry.spacing_zyx_mm, strict=True)}
    return spacing | {f"{name} size {a}, voxels": float(n) for a, n in zip("zyx", geometry.shape_zyx, strict=True)}


def _diagonal(geometry: Geometry) -> FloatArray:
    diagonal: FloatArray = np.asarray(geometry.direction, np.float64).reshape(3, 3).diagonal()
    return diagonal


def _volume_shape(datamodule: CtDataModule) -> tuple[int, int, int]:
    depth, height, width = datamodule.spec.shape
    return depth, height, width


def _bins() -> Iterator[tuple[float, float]]:
    edges = (-np.inf, *_BIN_EDGES_HU, np.inf)
    yield from pairwise(edges)


def _bin_name(low: float, high: float) -> str:
    if not np.isfinite(low):
        return f"below {high:g} HU"
    return f"{low:g} to {high:g} HU" if np.isfinite(high) else f"from {low:g} HU"


def _faces() -> Iterator[tuple[slice, ...]]:
    for axis, end in product(range(3), (slice(None, SHELL_VOX), slice(-SHELL_VOX, None))):
        yield tuple(end if a == axis else slice(None) for a in range(3))


SHELL_NAMES = (
    "shell mean",
    "shell sd",
    *(f"shell {p} %" for p in _PERCENTILES),
    *(f"shell {_bin_name(low, high)}" for low, high in _bins()),
    *(f"{end} {axis} face {what}" for axis, end, what in product("zyx", ("first", "last"), ("mean", "sd"))),
)
