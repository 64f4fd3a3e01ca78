"""Places without a finding: which spheres to keep away from, and random positions in the lungs that do."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.data.candidate_dataset import CENTER_COLUMNS
from lungdet.errors import ConfigError
from lungdet.geometry import Geometry
from lungdet.io.luna16 import Luna16
from lungdet.store.reader import CtStore

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)

#: What the challenge takes a negative diameter in annotations_excluded.csv for.
UNKNOWN_DIAMETER_MM = 10.0
# Distances computed along two ways differ in the last digits; a point at the limit counts as too near.
_ROUNDING_MM = 1e-6


@dataclass(frozen=True)
class Spheres:
    """Findings of one scan.

    Attributes:
        center_xyz_mm: float64 [N, 3].
        radius_mm: float64 [N].
    """

    center_xyz_mm: FloatArray
    radius_mm: FloatArray

    def contain(self, points_xyz_mm: FloatArray) -> BoolArray:
        """Which of the points (float64 [M, 3]) lie in a sphere or on its surface: bool [M]."""
        inside = np.zeros(len(points_xyz_mm), dtype=bool)
        for center, radius in zip(self.center_xyz_mm, self.radius_mm, strict=True):
            inside |= np.linalg.norm(points_xyz_mm - center, axis=1) <= radius + _ROUNDING_MM
        return inside


NO_SPHERES = Spheres(np.empty((0, 3)), np.empty(0))


def places_to_avoid(collection: Luna16, *, minimum_distance_mm: float, excluded: bool) -> dict[str, Spheres]:
    """The spheres of each series that no background may lie in.

    Args:
        collection: its annotations count; so do positive candidates without an annotation, as points.
        minimum_distance_mm: from the surface of these.
        excluded: also the irrelevant findings of annotations_excluded.csv, where the collection has that table, without
            a distance: the challenge does not count marks in them, one beside them it does.

    Returns:
        Series UID -> spheres, enlarged by the distance; series without any are missing.
    """
    annotated = collection.annotations
    reach = annotated["diameter_mm"] / 2 + minimum_distance_mm
    tables = [annotated[["series_uid", *CENTER_COLUMNS]].assign(radius_mm=reach)]
    if collection.candidates is not None:
        alone = collection.candidates["is_nodule"] & (collection.candidates["annotation_row"] < 0)
        points = collection.candidates.loc[alone, ["series_uid", *CENTER_COLUMNS]]
        tables.append(points.assign(radius_mm=float(minimum_distance_mm)))
    if excluded:
        given = collection.excluded["diameter_mm"]
        diameter = given.where(given >= 0, UNKNOWN_DIAMETER_MM)
        irrelevant = collection.excluded[["series_uid", *CENTER_COLUMNS]].assign(radius_mm=diameter / 2)
        tables.append(irrelevant.drop_duplicates())
    # Empty tables would make the columns objects.
    spheres = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    centers, radii = spheres[CENTER_COLUMNS].to_numpy(np.float64), spheres["radius_mm"].to_numpy(np.float64)
    rows = spheres.groupby("series_uid").indices
    return {str(uid): Spheres(centers[where], radii[where]) for uid, where in rows.items()}


def draw_in_lung(
    store: CtStore,
    series_uid: str,
    *,
    n: int,
    avoid: Spheres,
    minimum_distance_mm: float,
    seed: int,
) -> FloatArray:
    """Random voxels of the lungs, none nearer than a distance to the surface of a sphere, all equally likely.

    Args:
        store: with lung masks.
        series_uid: a scan of it.
        n: how many places are wanted.
        avoid: spheres to keep away from.
        minimum_distance_mm: from their surfaces.
        seed: together with the series it decides the places, whatever other series are drawn from.

    Returns:
        float64 [M, 3], x, y, z in mm, centres of M different voxels; M < n where the lungs have no more such voxels.

    Raises:
        StoreError: no such series, or a store without lung masks.
    """
    allowed = store.lung_mask(series_uid) > 0
    geometry = store.geometry(series_uid)
    for center, radius in zip(avoid.center_xyz_mm, avoid.radius_mm, strict=True):
        _clear_sphere(allowed, geometry, center, radius + minimum_distance_mm + _ROUNDING_MM)
    voxels = np.flatnonzero(allowed)
    generator = np.random.default_rng([seed & 0xFFFFFFFFFFFFFFFF, zlib.crc32(series_uid.encode())])
    chosen = generator.choice(voxels, size=min(n, len(voxels)), replace=False)
    index = np.stack(np.unravel_index(chosen, allowed.shape), axis=-1)
    return geometry.index_to_world(index)


def draw_background(
    store: CtStore,
    series_uids: Iterable[str],
    *,
    per_scan: int,
    avoid: Mapping[str, Spheres],
    seed: int,
) -> pd.DataFrame:
    """`draw_in_lung` of several scans as one table, outside the spheres of `avoid` (see `places_to_avoid`).

    Scans with fewer places than asked for, or none, are named in one warning.

    Returns:
        series_uid, center_x_mm, center_y_mm, center_z_mm; RangeIndex, in the order of `series_uids`.
    """
    tables, short = [], []
    for uid in series_uids:
        spheres = avoid.get(uid, NO_SPHERES)
        centers = draw_in_lung(store, uid, n=per_scan, avoid=spheres, minimum_distance_mm=0.0, seed=seed)
        if len(centers) < per_scan:
            short.append(f"{uid} ({len(centers)})")
        tables.append(pd.DataFrame(centers, columns=CENTER_COLUMNS).assign(series_uid=uid))
    if short:
        logger.warning(
            "%d scan(s) have fewer than %d voxels in the lungs that are far enough from every finding, the first: %s",
            len(short),
            per_scan,
            ", ".join(short[:3]),
        )
    none = pd.DataFrame(np.empty((0, 3)), columns=CENTER_COLUMNS).assign(series_uid=pd.Series(dtype="str"))
    joined = pd.concat(tables, ignore_index=True) if tables else none
    return joined[["series_uid", *CENTER_COLUMNS]]


def check_distance(path: str, minimum_distance_mm: float) -> None:
    """Refuse a distance that is negative or not finite.

    Raises:
        ConfigError: with the config path of the value.
    """
    if not 0 <= minimum_distance_mm < float("inf"):
        raise ConfigError([f"{path}={minimum_distance_mm} must be a distance >= 0 in mm; type {path}=10"])


def _clear_sphere(allowed: BoolArray, geometry: Geometry, center_xyz_mm: FloatArray, reach_mm: float) -> None:
    """Set the voxels within `reach_mm` of a world point to False; only the box around it is looked at.

    The axes of the grid are orthonormal, so distances in mm are those of the index times the spacing.
    """
    spacing = np.asarray(geometry.spacing_zyx_mm)
    middle = geometry.world_to_index(center_xyz_mm)
    low = np.maximum(np.floor(middle - reach_mm / spacing), 0).astype(int)
    high = np.minimum(np.ceil(middle + reach_mm / spacing) + 1, allowed.shape).astype(int)
    if (high <= low).any():
        return
    along = [((np.arange(a, b) - m) * s) ** 2 for a, b, m, s in zip(low, high, middle, spacing, strict=True)]
    squared = along[0][:, None, None] + along[1][:, None] + along[2]
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    allowed[box] &= squared > reach_mm**2
