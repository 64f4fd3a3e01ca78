"""One simulated patient: anatomy, nodules and look-alikes, before any scan of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.io.phantom.anatomy import Thorax, draw_thorax
from lungdet.io.phantom.bones import Ribs, make_ribs
from lungdet.io.phantom.lookalikes import Lookalike, place_lookalikes
from lungdet.io.phantom.nodules import Nodule, lung_points, place_nodules
from lungdet.io.phantom.plan import ScanPlan
from lungdet.io.phantom.spec import PhantomSpec, random_stream
from lungdet.io.phantom.trees import Trees, grow_trees


@dataclass(frozen=True)
class Patient:
    """What two series of one patient share: everything but acquisition, noise and the detector's marks.

    Attributes:
        thorax, trees, ribs, nodules, lookalikes: see their classes; mm about the scan centre.
        specks: [N, 3] micro-nodules below 3 mm.
        n_false: how many false candidates a detector would find.
    """

    thorax: Thorax
    trees: Trees
    ribs: Ribs
    nodules: tuple[Nodule, ...]
    lookalikes: tuple[Lookalike, ...]
    specks: npt.NDArray[np.float64]
    n_false: int


def make_patient(spec: PhantomSpec, plan: ScanPlan) -> Patient:
    """Anatomy, nodules and look-alikes of the plan's patient."""
    rng = random_stream(spec, 1, plan.patient_index, 1)
    knobs = spec.knobs
    thorax = draw_thorax(
        rng,
        half_fov_mm=0.5 * min(plan.shape_zyx[1:]) * plan.spacing_zyx_mm[1],
        half_height_mm=0.5 * plan.height_mm,
        table_side=1,
    )
    trees = grow_trees(rng, thorax)
    ribs = make_ribs(rng, thorax)
    nodules = place_nodules(rng, thorax, trees, count=plan.n_nodules, contrast=knobs.nodule_contrast)
    n_false = int(np.clip(spec.candidates_per_scan * rng.lognormal(-0.03, 0.25), 50, 400))
    lookalikes = place_lookalikes(
        rng, thorax, trees, nodules, count=round(knobs.lookalike_fraction * n_false),
        elongation=knobs.lookalike_elongation, contrast=knobs.nodule_contrast,
    )  # fmt: skip
    specks = lung_points(rng, thorax, int(rng.integers(4, 12)))
    return Patient(thorax, trees, ribs, nodules, lookalikes, specks, n_false)
