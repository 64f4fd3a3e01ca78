"""A small scan with a few findings whose places and sizes are known, as a pipeline would have found them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.pipeline.detections import Detections, detection_table
from lungdet.pipeline.patient import judge_patient, unjudged_patient
from lungdet.pipeline.regions import Region, ball

UID = "1.3.6.1.4.1.99999.1"
VERSIONS = {"lungdet": "9.8.7", "torch": "1.2.3"}
# Falling probability is not the order of the rows: ranks are 3, 1, 2, 4.
CENTERS = np.array([[-20.0, 10.0, 5.0], [30.5, -12.25, 20.125], [0.0, 25.0, -15.0], [31.0, -12.0, -20.0]])
PROBABILITIES = np.array([0.6, 0.97, 0.75, 0.1])
_DIAMETERS = np.array([6.0, 12.0, np.nan, 4.0])


def scan_of(geometry: Geometry | None = None) -> Scan:
    """Lung everywhere, balls of tissue at the findings; 100 x 100 x 100 mm around (0, 0, 0) by default."""
    geometry = geometry or Geometry((40, 80, 100), (-49.5, -49.375, -48.75), (1.0, 1.25, 2.5))
    hu = np.full(geometry.shape_zyx, -850, dtype=np.int16)
    for center, diameter in zip(CENTERS, np.nan_to_num(_DIAMETERS, nan=5.0), strict=True):
        region = ball(geometry, center, float(diameter))
        hu[region.slices][region.mask] = 40
    return Scan(hu, geometry, UID)


def detections_of(
    scan: Scan,
    *,
    rows: npt.ArrayLike = (0, 1, 2, 3),
    threshold: float = 0.5,
    recipe: dict[str, Any] | None = None,
    malignancy: bool = False,
) -> Detections:
    """Some of the four findings; those of the second and third are segmented, the others are balls."""
    chosen = np.asarray(rows, dtype=np.int64)
    p = PROBABILITIES[chosen]
    columns: dict[str, npt.ArrayLike] = {
        "logit": np.log(p / (1 - p)),
        "diameter_mm": _DIAMETERS[chosen],
        "mean_hu": np.full(len(chosen), -35.0),
    }
    if malignancy:
        columns["malignancy_probability"] = p / 2
    table = detection_table(UID, CENTERS[chosen], columns)
    regions = []
    for row in chosen.tolist():
        made = ball(scan.geometry, CENTERS[row], float(np.nan_to_num(_DIAMETERS[row], nan=5.0)))
        regions.append(Region(made.low_zyx, made.mask, "segmentation" if row in (1, 2) else "ball"))
    patient = judge_patient(table, rule="maximum", nodule_threshold=threshold, with_malignancy=malignancy)
    recipe = recipe or {"pipeline": "default", "source": {"kind": "blobs", "diameters_mm": [4.0, 8.0]}, "nms": None}
    seconds = {"lungs": 1.25, "classify": 3.5}
    return Detections(table, patient, seconds, recipe, (f"{UID}: look twice",), tuple(regions))


def unjudged(recipe: str = "default") -> Detections:
    """What a scan without lungs gives."""
    table = detection_table(UID, np.empty((0, 3)), {"logit": np.empty(0)})
    patient = unjudged_patient(rule="maximum", nodule_threshold=0.5)
    return Detections(table, patient, {"lungs": 0.5}, {"pipeline": recipe}, (f"{UID}: no lungs found",))
