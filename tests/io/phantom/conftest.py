"""Scans and chests made once per session: a default scan takes about a second."""

from __future__ import annotations

import numpy as np
import pytest

from lungdet.io.phantom.anatomy import Thorax, draw_thorax
from lungdet.io.phantom.patient import Patient, make_patient
from lungdet.io.phantom.plan import plan_cohort
from lungdet.io.phantom.scan import PhantomScan, make_scan
from lungdet.io.phantom.spec import PhantomSpec
from lungdet.io.phantom.trees import Trees, grow_trees


@pytest.fixture(scope="session")
def thorax() -> Thorax:
    """A miniature chest, 112 mm wide and 128 mm high."""
    return draw_thorax(np.random.default_rng(5), half_fov_mm=56.0, half_height_mm=64.0, table_side=1)


@pytest.fixture(scope="session")
def trees(thorax: Thorax) -> Trees:
    return grow_trees(np.random.default_rng(6), thorax)


@pytest.fixture(scope="session")
def spec() -> PhantomSpec:
    """Little noise and full contrast, so that the truth can be measured from the voxels."""
    return PhantomSpec(
        n_scans=12, seed=3, nodules_per_scan=4.0, noise_hu=2.0, nodule_contrast=1.0, oblique_fraction=0.2
    )


@pytest.fixture(scope="session")
def patient(spec: PhantomSpec) -> Patient:
    """One with nodules."""
    return make_patient(spec, next(plan for plan in plan_cohort(spec) if plan.n_nodules >= 3))


@pytest.fixture(scope="session")
def scans(spec: PhantomSpec) -> list[PhantomScan]:
    """Scans with nodules: a flipped one, an oblique one and two axial ones."""
    wanted = {"flipped": 1, "oblique": 1, "axial": 2}
    chosen = []
    for plan in plan_cohort(spec):
        # At least three, for there is much to check on each scan.
        if plan.n_nodules >= 3 and wanted[plan.orientation]:
            wanted[plan.orientation] -= 1
            chosen.append(plan.index)
    return [make_scan(spec, index) for index in chosen]
