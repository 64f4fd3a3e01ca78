"""One simulated scan with its truth, made from the spec and an index alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError
from lungdet.geometry import Geometry
from lungdet.io.phantom.bodies import make_body, random_rotation
from lungdet.io.phantom.bones import CORTEX_HU, MARROW_HU
from lungdet.io.phantom.candidates import Candidate, draw_candidates, draw_excluded
from lungdet.io.phantom.canvas import Canvas
from lungdet.io.phantom.lookalikes import Lookalike, paint_lookalike
from lungdet.io.phantom.nodules import Nodule, paint_nodule, reader_counts
from lungdet.io.phantom.patient import Patient, make_patient
from lungdet.io.phantom.plan import ScanPlan, plan_cohort
from lungdet.io.phantom.readers import two_readers_4
from lungdet.io.phantom.spec import PhantomSpec, random_stream
from lungdet.io.phantom.tissue import MEDIASTINUM_HU, base_hu

FloatArray = npt.NDArray[np.float64]

LOWEST_HU, HIGHEST_HU = -1024, 3071

_SPECK_MM = (1.6, 2.7)  # findings below 3 mm, which LIDC marks but does not size
_TILT_DEG = (9.0, 4.0, 7.0)  # largest rotation about x (gantry tilt), y and z of an oblique scan


@dataclass(frozen=True)
class PhantomScan:
    """A scan and everything that is known about it. Points are world mm, LPS, order x, y, z.

    Attributes:
        plan: its line in the cohort.
        hu: int16 [D, H, W].
        geometry: of hu and reader_mask.
        reader_mask: uint8 [D, H, W], how many of the readers outlined a voxel.
        annotations: one dict per nodule: center (x, y, z), diameter_mm, texture, margin, attachment, calcified,
            is_malignant (truth), malignancy_logit, ratings, mal_bool (two ratings >= 4), box (low, high corner).
        excluded: (x, y, z, diameter_mm) rows of annotations_excluded.
        candidates_v1: dicts with center, nodule (row of annotations, -1 for a false one) and kind.
        candidates_v2: likewise.
    """

    plan: ScanPlan
    hu: npt.NDArray[np.int16]
    geometry: Geometry
    reader_mask: npt.NDArray[np.uint8]
    annotations: list[dict[str, Any]]
    excluded: list[tuple[float, float, float, float]]
    candidates_v1: list[dict[str, Any]]
    candidates_v2: list[dict[str, Any]]

    @property
    def series_uid(self) -> str:
        """As in the plan."""
        return self.plan.series_uid


def make_scan(spec: PhantomSpec, index: int) -> PhantomScan:
    """The scan of that index, the same bytes whether or not any other is made.

    Args:
        spec: the cohort.
        index: 0 to spec.n_scans - 1.

    Raises:
        ConfigError: no such index.
    """
    if not 0 <= index < spec.n_scans:
        raise ConfigError([f"index {index}: the cohort has scans 0 to {spec.n_scans - 1}"])
    plan = plan_cohort(spec)[index]
    patient = make_patient(spec, plan)
    rng = random_stream(spec, 2, index, 1)
    geometry = _geometry(rng, plan)
    # The flipped matrix is that of a patient who lies prone: the table is on the other side.
    side = -1 if plan.orientation == "flipped" else 1
    thorax = dataclasses.replace(patient.thorax, table_side=side)
    canvas = Canvas(np.empty(plan.shape_zyx, dtype=np.float32), geometry)
    _paint(canvas, dataclasses.replace(patient, thorax=thorax), rng)
    mask = reader_counts(canvas, thorax, patient.nodules)
    _acquire(canvas, spec, plan, rng)
    hu = _digitise(canvas, plan)
    center_world = geometry.index_to_world((np.asarray(plan.shape_zyx) - 1) / 2)
    marks = draw_candidates(rng, patient)
    excluded = draw_excluded(rng, patient)
    v1, v2 = ([_candidate_record(mark, center_world) for mark in table] for table in marks)
    return PhantomScan(
        plan=plan,
        hu=hu,
        geometry=geometry,
        reader_mask=mask,
        annotations=[_nodule_record(nodule, center_world) for nodule in patient.nodules],
        excluded=[(*_floats(center + center_world), diameter) for center, diameter in excluded],  # type: ignore[misc]
        candidates_v1=v1,
        candidates_v2=v2,
    )


def _geometry(rng: np.random.Generator, plan: ScanPlan) -> Geometry:
    turn = np.eye(3)
    if plan.orientation == "flipped":
        turn = np.diag([-1.0, -1.0, 1.0])
    if plan.orientation == "oblique":
        # At least half the largest tilt, so that a transposed matrix cannot pass unnoticed.
        signs = rng.choice([-1.0, 1.0], 3)
        turn = _rotation(np.radians(_TILT_DEG) * rng.uniform(0.5, 1.0, 3) * signs)
    spacing_xyz = np.asarray(plan.spacing_zyx_mm[::-1])
    center = np.array([rng.uniform(-15, 15), rng.uniform(-180, 10), rng.uniform(-300, -60)])
    half = (np.asarray(plan.shape_zyx[::-1]) - 1) / 2
    origin = np.round(center - turn @ (half * spacing_xyz), 6)
    return Geometry(plan.shape_zyx, tuple(origin), tuple(spacing_xyz), tuple(turn.ravel()))


def _rotation(angles_xyz: FloatArray) -> FloatArray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles_xyz), np.sin(angles_xyz)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    rotation: FloatArray = about_z @ about_y @ about_x
    return rotation


def _paint(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
    thorax, trees = patient.thorax, patient.trees
    edge_mm = float(np.mean(canvas.spacing_xyz))
    for where, x, y, z in canvas.slabs():
        canvas.hu[where] = base_hu(thorax, x, y, z, edge_mm)
    lung = thorax.lung_hu
    canvas.tubes(patient.ribs.cortex, CORTEX_HU, background_hu=-50.0)
    canvas.tubes(patient.ribs.marrow, MARROW_HU, background_hu=None)
    canvas.tubes(trees.great_vessels, thorax.blood_hu, background_hu=MEDIASTINUM_HU)
    canvas.tubes(trees.trachea_wall, 30.0, background_hu=lung)
    canvas.tubes(trees.airway_wall, -60.0, background_hu=lung)
    canvas.tubes(trees.vessel_tubes, thorax.blood_hu, background_hu=lung)
    canvas.tubes(trees.airway_lumen, -980.0, background_hu=None)
    canvas.tubes(trees.trachea_lumen, -995.0, background_hu=None)
    for item in patient.lookalikes:
        paint_lookalike(canvas, thorax, item)
    for center in patient.specks:
        body = make_body(
            float(rng.uniform(*_SPECK_MM)),
            proportions=rng.uniform(0.8, 1.0, 3),
            rotation=random_rotation(rng),
            lobes=np.zeros((1, 3)),
            heights=np.zeros(1),
        )
        paint_lookalike(canvas, thorax, Lookalike("vessel_bulge", center, body, None, 0.0))
    for nodule in patient.nodules:
        paint_nodule(canvas, thorax, nodule)


def _acquire(canvas: Canvas, spec: PhantomSpec, plan: ScanPlan, rng: np.random.Generator) -> None:
    """What scanner and reconstruction add: blur and noise, a sharper kernel being a noisier one."""
    sharpness = rng.uniform(0, 1)
    canvas.blur(0.62 - 0.22 * sharpness, 0.3 * plan.spacing_zyx_mm[0])
    dose = rng.lognormal(0, 0.15)
    # Thin slices collect fewer photons; the exponent is below the 0.5 of physics as doses are raised for them.
    thin = (1.2 / plan.spacing_zyx_mm[0]) ** 0.3
    canvas.add_noise(rng, spec.knobs.noise_hu * (0.8 + 0.4 * sharpness) * dose * thin, 0.55 - 0.15 * sharpness)


def _digitise(canvas: Canvas, plan: ScanPlan) -> npt.NDArray[np.int16]:
    hu = canvas.hu
    np.clip(np.rint(hu, out=hu), LOWEST_HU, HIGHEST_HU, out=hu)
    volume = hu.astype(np.int16)
    if plan.padding_hu is not None:
        height, width = volume.shape[1:]
        y, x = np.ogrid[:height, :width]
        outside = np.hypot((y - (height - 1) / 2) / height, (x - (width - 1) / 2) / width) > 0.5
        volume[:, outside] = plan.padding_hu
    return volume


def _floats(values: FloatArray) -> tuple[float, ...]:
    # 0.1 micrometre: short decimals in the tables, far below any voxel.
    return tuple(round(float(v), 7) for v in values)


def _nodule_record(nodule: Nodule, center_world: FloatArray) -> dict[str, Any]:
    traits = nodule.traits
    half = 0.5 * nodule.diameter_mm + 0.5
    center = nodule.center + center_world
    return {
        "center": _floats(center),
        "diameter_mm": round(nodule.diameter_mm, 6),
        "texture": traits.texture,
        "margin": traits.margin,
        "attachment": nodule.attachment,
        "calcified": bool(traits.calcified),
        "is_malignant": bool(traits.is_malignant),
        "malignancy_logit": round(traits.malignancy_logit, 6),
        "ratings": [reading.malignancy for reading in nodule.readings],
        "mal_bool": two_readers_4(nodule.readings),
        "box": (_floats(center - half), _floats(center + half)),
    }


def _candidate_record(mark: Candidate, center_world: FloatArray) -> dict[str, Any]:
    return {"center": _floats(mark.center + center_world), "nodule": mark.nodule, "kind": mark.kind}
