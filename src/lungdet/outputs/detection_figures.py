"""Pictures of one scan and its findings: an overview with numbered markers, and three planes of each finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lungdet.evaluation.gallery import png_data_uri
from lungdet.evaluation.pictures import Picture, Text, side_letters, view_picture
from lungdet.evaluation.views import PLANES, patient_views
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.outputs.findings import Finding
from lungdet.pipeline.regions import Region

# The overview is sampled at up to this many places along the scan's longest side: 1.4 mm on a chest of 400 mm.
_OVERVIEW_SAMPLES = 280
# Between air and cortical bone; what scanners write outside their field of view would darken a mean.
_OVERVIEW_HU = (-1000, 800)
_REACH_MM = (20.0, 50.0)
_PIXEL_MM = (0.4, 1.0)
_CROSSHAIR_GAP = 0.13


@dataclass(frozen=True)
class Marker:
    """A place in an overview: mm from the picture's upper left corner.

    Attributes:
        x: to the right.
        y: downwards.
        kind: "nodule" (at the threshold), "candidate" (below it) or "annotation".
        words: its number; empty for annotations.
        label: where the number stands; None where there is no room for it.
        target: id of the element that it leads to; empty for none.
    """

    x: float
    y: float
    kind: str
    words: str = ""
    label: Text | None = None
    target: str = ""


@dataclass(frozen=True)
class Overview(Picture):
    """A picture of the whole scan, with markers."""

    markers: tuple[Marker, ...] = ()


def finding_pictures(scan: Scan, finding: Finding) -> tuple[Picture, Picture, Picture]:
    """Axial, coronal and sagittal plane through a finding, with the outline of its region where it was segmented.

    The pictures reach 20 mm to each side, or a diameter of a larger finding, at most 50 mm; the centre is exact, not
    rounded to a voxel. Beyond the scan's border there is black.
    """
    diameter = 0.0 if math.isnan(finding.diameter_mm) else finding.diameter_mm
    reach = np.full(3, np.clip(diameter, *_REACH_MM))
    pixel_mm = float(np.clip(min(scan.geometry.spacing_zyx_mm), *_PIXEL_MM))
    views = patient_views(scan.hu, scan.geometry, finding.center_xyz_mm, reach_xyz_mm=reach, pixel_mm=pixel_mm)
    outlines = ["", "", ""]
    if finding.region is not None and finding.region.made_by == "segmentation":
        mask, grid = _padded(finding.region, scan.geometry)
        covered = patient_views(mask, grid, finding.center_xyz_mm, reach_xyz_mm=reach, pixel_mm=pixel_mm, air_hu=0.0)
        outlines = [outline_path(view.hu, view.pixel_mm) for view in covered]
    axial, coronal, sagittal = (
        view_picture(view, gap=_CROSSHAIR_GAP, outline=outline) for view, outline in zip(views, outlines, strict=True)
    )
    return axial, coronal, sagittal


def outline_path(covered: npt.NDArray[np.float32], pixel_mm: float) -> str:
    """SVG path, in mm, along which a picture of coverage, 0 to 1, passes one half; empty where it never does."""
    from skimage.measure import find_contours  # 0.3 s that a run without pictures need not spend

    parts = []
    for contour in find_contours(np.pad(covered, 1), 0.5):  # type: ignore[no-untyped-call]
        points = (contour - 0.5) * pixel_mm  # the padding moved everything by one pixel; a pixel's middle is at 0.5
        parts.append("M" + "L".join(f"{x:.2f} {y:.2f}" for y, x in points.tolist()) + "Z")
    return "".join(parts)


def overview_pictures(
    scan: Scan, findings: Sequence[Finding], *, annotated_xyz_mm: npt.ArrayLike = (), n_numbered: int = 12
) -> tuple[Overview, Overview, Overview]:
    """The whole scan from the front, from the left and from below, as mean intensities, like radiographs.

    Args:
        scan: any direction matrix: the pictures stand on the axes of the patient.
        findings: those up to rank `n_numbered` get their number, which leads to `#finding-<rank>`; others a dot.
        annotated_xyz_mm: [K, 3], world; ringed.
        n_numbered: how many get a number.

    Returns:
        Coronal, sagittal, axial.
    """
    corner, step, volume = _patient_grid(scan)
    size_xyz = np.asarray(volume.shape[::-1]) * step
    annotated = np.asarray(annotated_xyz_mm, dtype=np.float64).reshape(-1, 3)
    pictures = []
    for plane in ("coronal", "sagittal", "axial"):
        (row_axis, row_sign), (column_axis, _), edges = PLANES[plane]
        # Of the array's axes z, y, x the one that no picture axis runs along is summed up.
        summed = 2 - (3 - row_axis - column_axis)
        mean = volume.mean(axis=summed, dtype=np.float32)
        mean = mean[::-1] if row_sign < 0 else mean
        width, height = float(size_xyz[column_axis]), float(size_xyz[row_axis])

        def place(
            point: npt.NDArray[np.float64], axes: tuple[int, int] = (row_axis, column_axis)
        ) -> tuple[float, float]:
            row, column = (float(point[axis] - corner[axis]) for axis in axes)
            return column, (row if row_sign > 0 else height - row)  # noqa: B023  called in this turn of the loop only

        markers = [Marker(*place(point), "annotation") for point in annotated]
        markers += _numbered(findings, [place(np.asarray(f.center_xyz_mm)) for f in findings], n_numbered, width)
        font = 0.05 * max(width, height)
        low, high = np.percentile(mean, (1, 99.8))
        gray = np.clip((mean - low) / max(high - low, 1.0) * 255, 0, 255).round().astype(np.uint8)
        letters = side_letters(edges, width=width, height=height, font=font)
        png = png_data_uri(gray)
        pictures.append(Overview(plane, png, width, height, letters, font, 0.004 * width, markers=tuple(markers)))
    coronal, sagittal, axial = pictures
    return coronal, sagittal, axial


def _padded(region: Region, geometry: Geometry) -> tuple[npt.NDArray[np.uint8], Geometry]:
    # One voxel of nothing all around: sampling ends at the last voxel's centre, the outline lies half a voxel beyond.
    mask = np.pad(region.mask, 1).astype(np.uint8)
    origin = geometry.index_to_world(np.asarray(region.low_zyx) - 1)
    d, h, w = mask.shape
    x, y, z = origin.tolist()
    return mask, Geometry((d, h, w), (x, y, z), geometry.spacing_xyz_mm, geometry.direction)


def _patient_grid(scan: Scan) -> tuple[npt.NDArray[np.float64], float, npt.NDArray[np.int16]]:
    """The scan on axes of the patient: lower corner of the box around it, step in mm, int16 [z, y, x]."""
    faces = [(-0.5, n - 0.5) for n in scan.geometry.shape_zyx]
    corners = scan.geometry.index_to_world(list(product(*faces)))
    corner = corners.min(axis=0)
    extent = corners.max(axis=0) - corner
    step = max(float(extent.max()) / _OVERVIEW_SAMPLES, min(scan.geometry.spacing_zyx_mm))
    shape_zyx = tuple(max(1, round(mm / step)) for mm in extent[::-1])
    first = scan.geometry.world_to_index(corner + step / 2)
    # World is linear in the index: the columns are what one step along z, y, x of the patient does to the index.
    columns = [scan.geometry.world_to_index(corner + step / 2 + step * unit) - first for unit in np.eye(3)[::-1]]
    volume: npt.NDArray[np.int16] = ndimage.affine_transform(
        scan.hu,
        np.stack(columns, axis=1),
        first,
        output_shape=shape_zyx,
        order=0,
        mode="grid-constant",
        cval=_OVERVIEW_HU[0],
        prefilter=False,
    )
    return corner, step, np.clip(volume, *_OVERVIEW_HU)


def _numbered(
    findings: Sequence[Finding], places: Sequence[tuple[float, float]], n_numbered: int, width: float
) -> list[Marker]:
    """Markers, the most probable last, so that it lies on top; numbers where they cover no more probable one."""
    letter = 0.04 * width
    taken: list[tuple[float, float, float, float]] = []
    markers = []
    for finding, (x, y) in zip(findings, places, strict=True):
        kind = "nodule" if finding.is_nodule else "candidate"
        if finding.rank > n_numbered:
            markers.append(Marker(x, y, kind))
            continue
        words = str(finding.rank)
        label = _free_place(words, x, y, letter=letter, taken=taken, width=width)
        markers.append(Marker(x, y, kind, words, label, f"finding-{finding.rank}"))
    return markers[::-1]


def _free_place(
    words: str, x: float, y: float, *, letter: float, taken: list[tuple[float, float, float, float]], width: float
) -> Text | None:
    half, rise = 0.35 * letter * len(words), 0.4 * letter
    for dx, dy in ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1)):
        at_x, at_y = x + dx * (half + 0.55 * letter), y + dy * 1.1 * letter
        box = (at_x - half, at_y - rise, at_x + half, at_y + rise)
        free = all(box[2] < b[0] or b[2] < box[0] or box[3] < b[1] or b[3] < box[1] for b in taken)
        if free and box[0] >= 0 and box[2] <= width:
            taken += [box, (x - 0.3 * letter, y - 0.3 * letter, x + 0.3 * letter, y + 0.3 * letter)]
            return Text(words, at_x, at_y + rise)
    return None
