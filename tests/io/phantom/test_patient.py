from __future__ import annotations

import numpy as np
import pytest

from lungdet.io.phantom.patient import Patient, make_patient
from lungdet.io.phantom.plan import plan_cohort
from lungdet.io.phantom.spec import PhantomSpec


def test_two_series_of_one_patient_show_the_same_nodules() -> None:
    spec = PhantomSpec(n_scans=8)
    plans = plan_cohort(spec)
    twice = next(p.patient_id for p in plans if sum(q.patient_id == p.patient_id for q in plans) > 1)
    first, second = (make_patient(spec, plan) for plan in plans if plan.patient_id == twice)
    assert len(first.nodules) == len(second.nodules) > 0
    for a, b in zip(first.nodules, second.nodules, strict=True):
        np.testing.assert_array_equal(a.center, b.center)
        assert a.readings == b.readings
    np.testing.assert_array_equal(first.trees.vessel_tubes.end, second.trees.vessel_tubes.end)


def test_other_patients_are_other_people(spec: PhantomSpec, patient: Patient) -> None:
    other = make_patient(spec, next(p for p in plan_cohort(spec) if p.n_nodules == 0))
    assert other.nodules == ()
    assert other.thorax.half_width != patient.thorax.half_width


def test_the_number_of_false_candidates_and_the_share_of_look_alikes() -> None:
    spec = PhantomSpec(n_scans=16, candidates_per_scan=100, lookalike_fraction=0.5, shape_zyx=(64, 96, 96))
    patients = [make_patient(spec, plan) for plan in plan_cohort(spec)]
    counts = np.array([patient.n_false for patient in patients])
    assert counts.mean() == pytest.approx(100, abs=20)
    assert counts.std() > 8
    assert counts.min() >= 50
    assert counts.max() <= 400
    assert all(len(patient.lookalikes) == round(0.5 * patient.n_false) for patient in patients)
