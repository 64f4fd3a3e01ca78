"""The detections of one scan as every file of this room shows them: ranked, with place, slice and voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungdet.errors import TableError
from lungdet.io.scan import Scan
from lungdet.pipeline.detections import Detections
from lungdet.pipeline.regions import Region

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Finding:
    """One row of `Detections.table`; what was not computed is NaN.

    Attributes:
        rank: 1 for the most probable.
        candidate_id: the row's.
        center_xyz_mm: world.
        index_zyx: fractional voxel index of the centre.
        slice_number: of the slice nearest to the centre, counted along the first array axis from 1.
        probability: fp32, as are `logit` and `malignancy_probability`.
        logit: of the probability.
        malignancy_probability: of the malignancy network.
        diameter_mm: of the ball of the same volume.
        mean_hu: inside.
        distance_to_pleura_mm: of the centre.
        is_nodule: whether the probability reaches the threshold of the patient's answer.
        region: its voxels; None when the pipeline gave none.
    """

    rank: int
    candidate_id: int
    center_xyz_mm: Point
    index_zyx: Point
    slice_number: int
    probability: float
    logit: float
    malignancy_probability: float
    diameter_mm: float
    mean_hu: float
    distance_to_pleura_mm: float
    is_nodule: bool
    region: Region | None


def ranked_findings(detections: Detections, scan: Scan) -> tuple[Finding, ...]:
    """The rows of the table by falling probability; equal ones by falling logit, then by candidate id.

    Args:
        detections: of this scan.
        scan: for voxel indices.

    Raises:
        TableError: rows of another series, or regions that are not one per row.
    """
    table = detections.table
    foreign = sorted(set(table["series_uid"]) - {scan.series_uid})
    if foreign:
        raise TableError(f"detections of series {foreign[0]} were given with scan {scan.series_uid}; pair each its own")
    if len(detections.regions) not in (0, len(table)):
        raise TableError(f"{scan.series_uid}: {len(detections.regions)} regions for {len(table)} detections")
    threshold = float(detections.patient["nodule_threshold"])
    # Tables carry fp32 probabilities that are 1 from a logit of 17 on; the logit still tells them apart.
    order = np.lexsort((table["candidate_id"], -table["logit"], -table["probability"]))
    center = table[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy(dtype=np.float64)
    index = scan.geometry.world_to_index(center)
    findings = []
    for rank, row in enumerate(order.tolist(), start=1):
        values = table.iloc[row]
        x, y, z = center[row].tolist()
        at_z, at_y, at_x = index[row].tolist()
        findings.append(
            Finding(
                rank=rank,
                candidate_id=int(values["candidate_id"]),
                center_xyz_mm=(x, y, z),
                index_zyx=(at_z, at_y, at_x),
                slice_number=round(at_z) + 1,
                probability=float(values["probability"]),
                logit=float(values["logit"]),
                malignancy_probability=float(values["malignancy_probability"]),
                diameter_mm=float(values["diameter_mm"]),
                mean_hu=float(values["mean_hu"]),
                distance_to_pleura_mm=float(values["distance_to_pleura_mm"]),
                is_nodule=bool(values["probability"] >= threshold),
                region=detections.regions[row] if detections.regions else None,
            )
        )
    return tuple(findings)
