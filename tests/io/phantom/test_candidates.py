from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lungdet.io.phantom.candidates import ANATOMY_WEIGHTS, Candidate, draw_candidates, draw_excluded
from lungdet.io.phantom.patient import Patient


@pytest.fixture(scope="module")
def draws(patient: Patient) -> list[tuple[tuple[Candidate, ...], tuple[Candidate, ...]]]:
    rng = np.random.default_rng(0)
    few = dataclasses.replace(patient, n_false=60)
    return [draw_candidates(rng, few) for _ in range(150)]


def test_coverage_of_the_two_tables(
    patient: Patient, draws: list[tuple[tuple[Candidate, ...], tuple[Candidate, ...]]]
) -> None:
    total = len(patient.nodules) * len(draws)
    covered = [sum(len({m.nodule for m in pair[v]} - {-1}) for pair in draws) / total for v in (0, 1)]
    assert covered[0] == pytest.approx(0.94, abs=0.035)
    assert covered[1] == pytest.approx(0.98, abs=0.02)
    # What V1 finds, V2 finds too.
    assert all({m.nodule for m in v1} <= {m.nodule for m in v2} for v1, v2 in draws)
    rows = [np.mean([len(pair[v]) for pair in draws]) for v in (0, 1)]
    assert rows[0] / rows[1] == pytest.approx(0.73, abs=0.06)


def test_marks_are_off_the_centre_but_within_the_nodule(
    patient: Patient, draws: list[tuple[tuple[Candidate, ...], tuple[Candidate, ...]]]
) -> None:
    marks = [m for _, v2 in draws for m in v2 if m.nodule >= 0]
    off = np.array([np.linalg.norm(m.center - patient.nodules[m.nodule].center) for m in marks])
    radius = np.array([0.5 * patient.nodules[m.nodule].diameter_mm for m in marks])
    assert (off < 0.85 * radius).all()
    assert off.max() <= 3.0
    assert off.min() > 0.3
    assert 1.8 < len(marks) / (len(draws) * len(patient.nodules)) < 3.2


def test_false_marks_sit_on_what_they_say_and_off_every_nodule(
    patient: Patient, draws: list[tuple[tuple[Candidate, ...], tuple[Candidate, ...]]]
) -> None:
    false = [m for _, v2 in draws for m in v2 if m.nodule < 0]
    assert len(false) / len(draws) == pytest.approx(60, abs=1)
    assert {m.kind for m in false} == set(ANATOMY_WEIGHTS) | {item.kind for item in patient.lookalikes}
    centers = np.stack([m.center for m in false])
    for nodule in patient.nodules:
        assert (np.linalg.norm(centers - nodule.center, axis=1) > 0.5 * nodule.diameter_mm).all()

    def of(kind: str) -> np.ndarray:
        return np.stack([m.center for m in false if m.kind == kind])

    tubes = patient.trees.vessel_tubes
    assert np.median(np.abs(tubes.distance(of("vessel_branching")))) < 1.0
    assert np.median(np.abs(patient.trees.airway_wall.distance(of("airway_wall")))) < 1.0
    assert np.median(np.abs(patient.thorax.lung_depth(of("pleura"))[0])) < 5.0
    gap = [np.linalg.norm(patient.ribs.ends - center, axis=1).min() for center in of("rib_end")]
    assert np.median(gap) < 4.0
    assert (patient.thorax.lung_depth(centers)[0] < 9.0).all()


def test_a_chest_without_visible_bronchi_makes_do(patient: Patient) -> None:
    none = dataclasses.replace(
        patient.trees.airway_wall,
        **{
            f.name: getattr(patient.trees.airway_wall, f.name)[:0]
            for f in dataclasses.fields(patient.trees.airway_wall)
        },
    )
    bare = dataclasses.replace(patient, trees=dataclasses.replace(patient.trees, airway_wall=none), n_false=80)
    _, v2 = draw_candidates(np.random.default_rng(0), bare)
    assert "airway_wall" not in {m.kind for m in v2}
    assert sum(m.nodule < 0 for m in v2) == pytest.approx(80, abs=1)


def test_excluded_findings_have_the_statistics_of_luna16(patient: Patient) -> None:
    rng = np.random.default_rng(1)
    # As many nodules as an average scan has: 2.
    average = dataclasses.replace(patient, nodules=patient.nodules[:2])
    tables = [draw_excluded(rng, average) for _ in range(300)]
    rows = np.array([len(table) for table in tables])
    assert rows.mean() == pytest.approx(39.6, abs=4)
    assert rows.min() >= 1
    everything = [(*center, diameter) for table in tables for center, diameter in table]
    unsized = np.array([row[3] == -1 for row in everything])
    assert unsized.mean() == pytest.approx(0.87, abs=0.02)
    # Within a scan: the specks of one patient come back in each of its tables.
    different = sum(len({(*center, diameter) for center, diameter in table}) for table in tables)
    repeated = 1 - different / len(everything)
    assert repeated == pytest.approx(0.315, abs=0.04)
    assert all(len({c.tobytes() for c, d in table if d > 0}) == sum(d > 0 for _, d in table) for table in tables)


def test_every_included_centre_lies_in_an_excluded_sphere(patient: Patient) -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        table = draw_excluded(rng, patient)
        for nodule in patient.nodules:
            hit = [
                np.linalg.norm(center - nodule.center) < (diameter / 2 if diameter > 0 else 0)
                for center, diameter in table
            ]
            assert sum(hit) >= 2
