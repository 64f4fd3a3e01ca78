from __future__ import annotations

import re
from collections import Counter

import pytest

from lungdet.io.phantom.plan import plan_cohort
from lungdet.io.phantom.spec import PhantomSpec


@pytest.mark.parametrize("seed", range(5))
def test_the_default_cohort_holds_every_oddity(seed: int) -> None:
    plans = plan_cohort(PhantomSpec(seed=seed))
    assert len(plans) == 24
    orientations = Counter(plan.orientation for plan in plans)
    assert orientations["flipped"] == 1
    assert orientations["oblique"] == 2
    assert all(plan.n_nodules for plan in plans if plan.orientation != "axial")
    assert Counter(plan.padding_hu is not None for plan in plans)[True] == 10
    assert {plan.padding_hu for plan in plans} <= {None, -2048, -3024}
    sizes = Counter(plan.subset for plan in plans)
    assert set(sizes) == set(range(10))
    assert set(sizes.values()) == {2, 3}


@pytest.mark.parametrize("seed", range(5))
def test_one_patient_has_two_series_in_different_subsets(seed: int) -> None:
    plans = plan_cohort(PhantomSpec(seed=seed))
    patients = Counter(plan.patient_id for plan in plans)
    [(twice, count)] = [item for item in patients.items() if item[1] > 1]
    first, second = (plan for plan in plans if plan.patient_id == twice)
    assert count == 2
    assert first.subset != second.subset
    assert first.n_nodules == second.n_nodules > 0
    assert first.height_mm == second.height_mm
    assert first.spacing_zyx_mm[1:] == second.spacing_zyx_mm[1:]
    assert first.series_uid != second.series_uid


def test_shares_in_a_large_cohort() -> None:
    plans = plan_cohort(PhantomSpec(n_scans=1000, patients_with_two_series=7, nodules_per_scan=2.0))
    assert Counter(plan.orientation for plan in plans) == {"axial": 900, "flipped": 20, "oblique": 80}
    assert sum(plan.padding_hu is not None for plan in plans) == 400
    patients = {plan.patient_id: plan.n_nodules for plan in plans}
    assert len(patients) == 993
    assert sum(n == 0 for n in patients.values()) == 331
    with_nodules = [n for n in patients.values() if n]
    assert sum(with_nodules) / len(with_nodules) == pytest.approx(2.0, abs=0.12)
    assert max(with_nodules) <= 10


def test_geometry_is_that_of_ct() -> None:
    plans = plan_cohort(PhantomSpec(n_scans=300))
    for plan in plans:
        slice_mm, pixel_y, pixel_x = plan.spacing_zyx_mm
        assert 0.55 <= pixel_x == pixel_y <= 0.90
        assert 0.6 <= slice_mm <= 2.5
        assert plan.shape_zyx[1:] == (160, 160)
        assert plan.shape_zyx[0] * slice_mm == pytest.approx(plan.height_mm, abs=slice_mm)
        assert 100 < plan.height_mm < 155
    slices = sorted(plan.shape_zyx[0] for plan in plans)
    assert 90 < slices[150] < 135


def test_uids_are_legal_and_follow_the_whole_spec() -> None:
    plans = plan_cohort(PhantomSpec())
    uids = [plan.series_uid for plan in plans]
    assert len(set(uids)) == 24
    assert all(re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid) for uid in uids)
    assert uids == [plan.series_uid for plan in plan_cohort(PhantomSpec())]
    # Another image under the same name would be a trap for every cache.
    assert not set(uids) & {plan.series_uid for plan in plan_cohort(PhantomSpec(difficulty=0.5))}


@pytest.mark.parametrize("n_scans", [1, 2, 3])
def test_tiny_cohorts_are_plain_and_have_nodules(n_scans: int) -> None:
    plans = plan_cohort(PhantomSpec(n_scans=n_scans))
    assert len({plan.patient_id for plan in plans}) == n_scans
    assert {plan.orientation for plan in plans} == {"axial"}
    assert any(plan.n_nodules for plan in plans)


def test_shares_of_zero_leave_the_oddities_out() -> None:
    spec = PhantomSpec(
        flipped_fraction=0.0, oblique_fraction=0.0, padded_fraction=0.0, nodule_free_fraction=0.0,
        patients_with_two_series=0,
    )  # fmt: skip
    plans = plan_cohort(spec)
    assert {plan.orientation for plan in plans} == {"axial"}
    assert {plan.padding_hu for plan in plans} == {None}
    assert len({plan.patient_id for plan in plans}) == 24
    assert all(plan.n_nodules for plan in plans)


def test_two_series_of_one_subset_only_where_nothing_else_is_left() -> None:
    # The last patients may find only series of one subset left; each series has its patient all the same.
    plans = plan_cohort(PhantomSpec(n_scans=40, patients_with_two_series=20))
    assert set(Counter(plan.patient_id for plan in plans).values()) == {2}
