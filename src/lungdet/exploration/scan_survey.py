"""Looking through CT scans: every header, and the voxels of a chosen number; what cannot be read is listed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import LungdetError
from lungdet.evaluation.views import View, patient_views
from lungdet.geometry import Geometry
from lungdet.store.value_counts import ValueCounts

POINT_COLUMNS = ["center_x_mm", "center_y_mm", "center_z_mm"]
HU_RANGE = (-1024, 3071)

#: Around a point, to every side: what its class looks like in HU.
NEAR_MM = 8.0
#: What a picture shows around a point, to every side.
REACH_MM = 25.0
# Of one scan and class: LUNA16 lists 850 candidates a scan, which would make a few scans count for all.
_POINTS_PER_SCAN = 20

ReadVolume = Callable[[str], tuple[npt.NDArray[np.int16], Geometry]]
Advance = Callable[..., None]


@dataclass(frozen=True)
class HeaderSurvey:
    """What the headers say.

    Attributes:
        scans: series_uid, rows, columns, slices, spacing_x_mm, spacing_y_mm, spacing_z_mm (along the index axes),
            size_x_mm, size_y_mm, size_z_mm, standing (`axial`, `flipped`, `permuted` or `oblique`); one row a scan that
            could be read.
        failures: series_uid -> why not.
    """

    scans: pd.DataFrame
    failures: Mapping[str, str]


@dataclass
class VolumeSurvey:
    """What the voxels say.

    Attributes:
        everywhere: HU of all voxels of the scans read.
        near: class -> HU within `NEAR_MM` of its points.
        views: row of the points -> axial view.
        read: series UIDs that were read.
        failures: series_uid -> why not.
    """

    everywhere: ValueCounts = field(default_factory=lambda: ValueCounts(HU_RANGE))
    near: dict[str, ValueCounts] = field(default_factory=dict)
    views: dict[int, View] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def survey_headers(series_uids: Sequence[str], read: Callable[[str], Geometry]) -> HeaderSurvey:
    """Read the grid of every scan.

    Args:
        series_uids: which.
        read: series UID -> grid; a `LungdetError` of it is listed.
    """
    rows, failures = [], {}
    for uid in series_uids:
        try:
            geometry = read(uid)
        except LungdetError as error:
            failures[uid] = str(error)
            continue
        depth, height, width = geometry.shape_zyx
        size_z, size_y, size_x = geometry.size_zyx_mm
        rows.append(
            (uid, height, width, depth, *geometry.spacing_xyz_mm, size_x, size_y, size_z, standing(geometry.direction))
        )
    columns = ["series_uid", "rows", "columns", "slices", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm"]
    columns += ["size_x_mm", "size_y_mm", "size_z_mm", "standing"]
    return HeaderSurvey(pd.DataFrame(rows, columns=columns), failures)


def standing(direction: Sequence[float]) -> str:
    """How the index axes lie in the patient: `axial` (along x, y, z), `flipped`, `permuted` or `oblique`.

    >>> standing((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    'flipped'
    """
    cosines = np.asarray(direction, np.float64).reshape(3, 3)
    if not np.allclose(np.abs(cosines).max(axis=0), 1, atol=1e-3):
        return "oblique"
    if not np.allclose(np.abs(np.diag(cosines)), 1, atol=1e-3):
        return "permuted"
    return "axial" if (np.diag(cosines) > 0).all() else "flipped"


def survey_volumes(
    series_uids: Sequence[str],
    read: ReadVolume,
    *,
    points: pd.DataFrame,
    classes: Sequence[str],
    shown: Sequence[int],
    generator: np.random.Generator,
    advance: Advance | None = None,
) -> VolumeSurvey:
    """Read each scan once: its HU, those near its points, and the pictures wanted of it.

    Args:
        series_uids: which scans.
        read: series UID -> int16 [D, H, W] HU and its grid; a `LungdetError` of it is listed.
        points: series_uid, label, center_x_mm, center_y_mm, center_z_mm; RangeIndex.
        classes: names of the labels.
        shown: rows of `points` to make pictures of.
        generator: decides which points are counted where a scan has many.
        advance: told after each scan: how many, of how many, which.
    """
    survey = VolumeSurvey(near={name: ValueCounts(HU_RANGE) for name in classes})
    by_scan = dict(iter(points.groupby("series_uid")))
    for done, uid in enumerate(series_uids, start=1):
        try:
            hu, geometry = read(uid)
        except LungdetError as error:
            survey.failures[uid] = str(error)
        else:
            survey.read.append(uid)
            survey.everywhere.add(hu)
            here = by_scan.get(uid, points.iloc[:0])
            for label, name in enumerate(classes):
                centers = here.loc[here["label"] == label, POINT_COLUMNS].to_numpy(np.float64)
                for row in generator.permutation(len(centers))[:_POINTS_PER_SCAN]:
                    survey.near[name].add(near_point(hu, geometry, centers[row]))
            for row in here.index.intersection(list(shown)):
                survey.views[row] = axial_view(hu, geometry, here.loc[row, POINT_COLUMNS].to_numpy(np.float64))
        if advance is not None:
            advance(done, len(series_uids), uid)
    return survey


def near_point(
    hu: npt.NDArray[np.int16], geometry: Geometry, center_xyz_mm: npt.NDArray[np.float64]
) -> npt.NDArray[np.int16]:
    """The voxels of a box of `NEAR_MM` to every side of a point, as far as the scan reaches: int16 [d, h, w]."""
    reach = NEAR_MM / np.asarray(geometry.spacing_zyx_mm)
    index = geometry.world_to_index(center_xyz_mm)
    low = np.maximum(0, np.ceil(index - reach)).astype(int)
    high = np.minimum(geometry.shape_zyx, np.floor(index + reach).astype(int) + 1)
    z, y, x = (slice(a, max(a, b)) for a, b in zip(low, high, strict=True))
    return hu[z, y, x]


def axial_view(hu: npt.NDArray[np.int16], geometry: Geometry, center_xyz_mm: npt.NDArray[np.float64]) -> View:
    """`REACH_MM` to every side, pixels of half a millimetre or the finest spacing; less where the scan is smaller."""
    in_plane = min(REACH_MM, min(geometry.size_zyx_mm[1:]) / 2)
    pixel_mm = max(0.4, min(geometry.spacing_zyx_mm[1:]))
    axial, _, _ = patient_views(hu, geometry, center_xyz_mm, reach_xyz_mm=(in_plane, in_plane, 0.0), pixel_mm=pixel_mm)
    return axial
