"""The default detector: lungs, candidates, classifier, suppression, malignancy, patient; a module per step."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.io.scan import Scan
from lungdet.pipeline.candidates import Candidates
from lungdet.pipeline.detections import Detections, detection_table, sigmoid
from lungdet.pipeline.lungs import Lungs, find_lungs
from lungdet.pipeline.nms import suppress_neighbours
from lungdet.pipeline.patient import judge_patient, unjudged_patient
from lungdet.pipeline.recipe import Recipe
from lungdet.pipeline.regions import Region, ball
from lungdet.pipeline.sources import SegmentationSource
from lungdet.pipeline.timing import StageClock
from lungdet.store.resample import resample_linear

_log = logging.getLogger(__name__)

Spacing = tuple[float, float, float]

# LUNA16's voxels, on which networks without a grid of their own were trained: z, then in the plane.
_TRAINED_MM = ((0.45, 2.5), (0.46, 0.98))
# Both lungs of a grown-up hold litres; the phantom's hold some hundred millilitres.
_SMALL_LUNGS_ML = 100.0
# Vessels and the closing of the mask's rim make up a tenth of a lung mask; consolidation seldom more than a third.
_DENSE_HU, _DENSE_SHARE = -300, 0.4


def detect(scan: Scan, recipe: Recipe) -> Detections:
    """Find nodules in one scan.

    Args:
        scan: a chest CT of any size and spacing.
        recipe: the steps.

    Returns:
        Detections, by falling probability. A scan without lungs gives an empty table, a patient score of NaN and a note
        that says so; a scan whose lungs hold no candidate an empty table and a patient score of 0.

    Raises:
        RunError: a network whose weights or answers are NaN or infinite.
        ScanError: a scan smaller than the crop of a classifier that shifts crops inside.
    """
    clock = StageClock()
    with clock.stage("lungs"):
        lungs = find_lungs(scan)
    if lungs is None:
        note = f"{scan.series_uid}: no lungs found, so nothing was searched: is this a chest CT in Hounsfield units?"
        _log.warning(note)
        patient = unjudged_patient(rule=recipe.patient_rule, nodule_threshold=recipe.nodule_threshold)
        table = detection_table(scan.series_uid, np.empty((0, 3)), {"logit": np.empty(0)})
        return Detections(table, patient, clock.seconds, recipe.describe(), (note,))

    grids: dict[Spacing | None, Scan] = {None: scan}
    source_grid = _on_grid(grids, recipe.source.spacing_zyx_mm, clock=clock)
    found = recipe.source.find(source_grid, lungs.on_grid(source_grid.geometry), clock=clock)
    logit: npt.NDArray[np.floating[Any]] = found.logit
    if recipe.classifier is not None:
        grid = _on_grid(grids, recipe.classifier.contract.spacing_zyx_mm, clock=clock)
        with clock.stage("classify"):
            logit = recipe.classifier.logits(grid, found.center_xyz_mm)
    with clock.stage("suppress"):
        kept = suppress_neighbours(found.center_xyz_mm, logit, radius_mm=recipe.suppression_mm)
        found, logit = found.take(kept), logit[kept]
    columns: dict[str, Any] = {"logit": logit, "probability": sigmoid(logit)}
    if recipe.malignancy is not None:
        grid = _on_grid(grids, recipe.malignancy.contract.spacing_zyx_mm, clock=clock)
        with clock.stage("malignancy"):
            columns["malignancy_probability"] = sigmoid(recipe.malignancy.logits(grid, found.center_xyz_mm))
    regions = _regions(scan, source_grid, found)
    return _result(scan, recipe, found=found, columns=columns, regions=regions, lungs=lungs, clock=clock)


def _regions(scan: Scan, source_grid: Scan, found: Candidates) -> tuple[Region, ...]:
    """What was segmented, on the scan's own grid; a ball where the source has nothing to show."""
    return tuple(
        ball(scan.geometry, center, diameter) if region is None else region.on_grid(source_grid.geometry, scan.geometry)
        for region, center, diameter in zip(found.regions, found.center_xyz_mm, found.diameter_mm, strict=True)
    )


def _result(
    scan: Scan,
    recipe: Recipe,
    *,
    found: Candidates,
    columns: dict[str, Any],
    regions: tuple[Region, ...],
    lungs: Lungs,
    clock: StageClock,
) -> Detections:
    with clock.stage("measure"):
        columns |= {
            "diameter_mm": found.diameter_mm,
            "mean_hu": found.mean_hu,
            "distance_to_pleura_mm": lungs.depth_mm(found.center_xyz_mm),
        }
    table = detection_table(scan.series_uid, found.center_xyz_mm, columns)
    patient = judge_patient(
        table,
        rule=recipe.patient_rule,
        nodule_threshold=recipe.nodule_threshold,
        with_malignancy=recipe.malignancy is not None,
    )
    patient["lung_volume_ml"] = round(lungs.volume_ml, 1)
    notes = tuple(_notes(scan, recipe, lungs))
    for note in notes:
        _log.warning(note)
    return Detections(table, patient, clock.seconds, recipe.describe(), notes, regions)


def _on_grid(grids: dict[Spacing | None, Scan], spacing: Spacing | None, *, clock: StageClock) -> Scan:
    """The scan on the grid a step wants, resampled as the store does it, once per grid."""
    if spacing not in grids:
        scan = grids[None]
        with clock.stage("resample"):
            assert spacing is not None, "the scan's own grid is there from the start"
            target = scan.geometry.resampled(spacing)
            grids[spacing] = Scan(resample_linear(scan.hu, scan.geometry, target), target, scan.series_uid)
    return grids[spacing]


def _notes(scan: Scan, recipe: Recipe, lungs: Lungs) -> list[str]:
    notes = []
    if lungs.volume_ml < _SMALL_LUNGS_ML:
        notes.append(f"{scan.series_uid}: only {lungs.volume_ml:.0f} mL look like lung: is this a whole chest CT?")
    dense = float(np.mean(scan.hu[lungs.box.slices][lungs.mask] > _DENSE_HU))
    if dense > _DENSE_SHARE:
        notes.append(
            f"{scan.series_uid}: {dense:.0%} of what was taken for lungs is denser than {_DENSE_HU} HU: "
            "is this a chest CT in Hounsfield units?"
        )
    if recipe.classifier is None:
        notes.append(f"{scan.series_uid}: no classifier; probabilities are the candidate source's own, not calibrated")
    grids = [step.contract.spacing_zyx_mm for step in (recipe.classifier, recipe.malignancy) if step is not None]
    if isinstance(recipe.source, SegmentationSource):
        grids.append(recipe.source.spacing_zyx_mm)
    if None not in grids:
        return notes
    z, y, x = scan.geometry.spacing_zyx_mm
    for name, value, (low, high) in (
        ("slices are {} mm apart", z, _TRAINED_MM[0]),
        ("pixels are {} mm wide", max(x, y) if max(x, y) > _TRAINED_MM[1][1] else min(x, y), _TRAINED_MM[1]),
    ):
        if not low - 0.005 <= value <= high + 0.005:
            notes.append(
                f"{scan.series_uid}: {name.format(f'{value:g}')}, a network that takes the scan's own voxels was "
                f"trained on {low:g} to {high:g} mm: do not rely on its scores"
            )
    return notes
