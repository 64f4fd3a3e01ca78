"""Who is in the cohort: patients, series, subsets and acquisition settings, drawn before a single voxel."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lungdet.io.phantom.spec import PhantomSpec, random_stream

Orientation = Literal["axial", "flipped", "oblique"]

N_SUBSETS = 10

# Slice distances of LUNA16 (0.45 to 2.5 mm, most of them these), weighted to a median of 1.0 to 1.25 mm.
_SLICE_MM = (0.6, 0.625, 0.75, 0.8, 1.0, 1.25, 1.5, 1.8, 2.0, 2.5)
_SLICE_WEIGHT = (0.05, 0.10, 0.07, 0.05, 0.22, 0.25, 0.06, 0.05, 0.06, 0.09)
_PIXEL_MM = (0.55, 0.90)
_NOMINAL_PIXEL_MM = 0.70
_PADDING_HU = (-2048, -3024)
_MAX_NODULES = 10
_MIN_SLICES = 24


@dataclass(frozen=True)
class ScanPlan:
    """One series of the cohort before it is made.

    Attributes:
        index: 0-based position in the cohort.
        series_uid: DICOM UID `2.25.<integer>`, from the spec's fingerprint and the index.
        patient_index: 0-based; series of one patient share anatomy and nodules.
        patient_id: `PHANTOM-0001` and so on.
        subset: 0 to 9.
        orientation: `axial` is the identity matrix, `flipped` diag(-1, -1, 1), `oblique` a rotation.
        n_nodules: how many nodules to place.
        height_mm: extent along the body.
        spacing_zyx_mm: voxel spacing.
        shape_zyx: voxels.
        padding_hu: value outside the circular field of view, None without one.
    """

    index: int
    series_uid: str
    patient_index: int
    patient_id: str
    subset: int
    orientation: Orientation
    n_nodules: int
    height_mm: float
    spacing_zyx_mm: tuple[float, float, float]
    shape_zyx: tuple[int, int, int]
    padding_hu: int | None


def plan_cohort(spec: PhantomSpec) -> tuple[ScanPlan, ...]:
    """The plan of every series, in index order. Cheap: no image is made."""
    rng = random_stream(spec, 0)
    n = spec.n_scans
    subsets = rng.permutation(np.arange(n) % N_SUBSETS)
    patients = _patients(spec, rng, subsets)
    orientations = _orientations(spec, rng)
    nodules = _nodule_counts(spec, rng, patients, orientations)
    padded = set(rng.permutation(n)[: _share(spec.padded_fraction, n)].tolist())
    plans = []
    for index in range(n):
        patient = int(patients[index])
        # Body size belongs to the patient, slice distance and padding to the scan.
        body = random_stream(spec, 1, patient, 0)
        pixel_mm = round(float(body.uniform(*_PIXEL_MM)), 6)
        height_mm = spec.shape_zyx[0] * float(np.sqrt(pixel_mm / _NOMINAL_PIXEL_MM) * body.uniform(0.95, 1.05))
        device = random_stream(spec, 2, index, 0)
        slice_mm = float(device.choice(_SLICE_MM, p=_SLICE_WEIGHT))
        slices = max(_MIN_SLICES, round(height_mm / slice_mm))
        padding_hu = int(device.choice(_PADDING_HU))
        plans.append(
            ScanPlan(
                index=index,
                series_uid=_series_uid(spec, index),
                patient_index=patient,
                patient_id=f"PHANTOM-{patient + 1:04d}",
                subset=int(subsets[index]),
                orientation=orientations[index],
                n_nodules=int(nodules[patient]),
                height_mm=height_mm,
                spacing_zyx_mm=(slice_mm, pixel_mm, pixel_mm),
                shape_zyx=(slices, *spec.shape_zyx[1:]),
                padding_hu=padding_hu if index in padded else None,
            )
        )
    return tuple(plans)


def _share(fraction: float, n: int) -> int:
    at_least = 1 if fraction > 0 and n >= 4 else 0
    return min(n, max(at_least, round(fraction * n)))


def _patients(spec: PhantomSpec, rng: np.random.Generator, subsets: np.ndarray) -> np.ndarray:
    """Patient index of each series; the twice-scanned ones get two series of different subsets."""
    patient_of = np.arange(spec.n_scans)
    free = [int(i) for i in rng.permutation(spec.n_scans)]
    for _ in range(spec.patients_with_two_series if spec.n_scans >= 4 else 0):
        first = free.pop()
        second = next((i for i in reversed(free) if subsets[i] != subsets[first]), free[-1])
        free.remove(second)
        patient_of[max(first, second)] = patient_of[min(first, second)]
    return np.unique(patient_of, return_inverse=True)[1]


def _orientations(spec: PhantomSpec, rng: np.random.Generator) -> list[Orientation]:
    order = rng.permutation(spec.n_scans)
    n_flipped = _share(spec.flipped_fraction, spec.n_scans)
    n_oblique = min(_share(spec.oblique_fraction, spec.n_scans), spec.n_scans - n_flipped)
    result: list[Orientation] = ["axial"] * spec.n_scans
    for i in order[:n_flipped]:
        result[i] = "flipped"
    for i in order[n_flipped : n_flipped + n_oblique]:
        result[i] = "oblique"
    return result


def _nodule_counts(
    spec: PhantomSpec, rng: np.random.Generator, patients: np.ndarray, orientations: list[Orientation]
) -> np.ndarray:
    """Nodules per patient. The odd series keep theirs where possible: they are there to catch geometry mistakes."""
    n_patients = int(patients.max()) + 1
    counts = 1 + np.minimum(rng.poisson(spec.nodules_per_scan - 1, n_patients), _MAX_NODULES - 1)
    special = {int(p) for p, o in zip(patients, orientations, strict=True) if o != "axial"}
    special |= {int(p) for p in np.flatnonzero(np.bincount(patients) > 1)}
    order = sorted(rng.permutation(n_patients).tolist(), key=lambda p: p in special)
    n_free = min(round(spec.nodule_free_fraction * n_patients), n_patients - 1)
    counts[order[:n_free]] = 0
    return counts


def _series_uid(spec: PhantomSpec, index: int) -> str:
    digest = hashlib.sha256(f"lungdet phantom {spec.fingerprint} series {index}".encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"
