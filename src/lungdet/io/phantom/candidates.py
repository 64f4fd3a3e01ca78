"""Where a candidate detector would have pointed: several marks per nodule, and the ordinary and drawn false ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.io.phantom.bodies import random_directions
from lungdet.io.phantom.lookalikes import clear_of
from lungdet.io.phantom.nodules import Nodule, at_depth, lung_points
from lungdet.io.phantom.patient import Patient

FloatArray = npt.NDArray[np.float64]

# The ordinary anatomy that false candidates sit on, and how often.
ANATOMY_WEIGHTS = {"vessel_branching": 0.48, "vessel": 0.22, "pleura": 0.14, "rib_end": 0.04, "airway_wall": 0.12}

# LUNA16: candidates_V2 covers 98.3 % of the nodules, candidates 94.4 %, with 73 % of the rows.
_MISSED_BY_V2, _MISSED_BY_V1 = 0.02, 0.06
_SHARE_OF_V1 = 0.73
_MORE_PER_NODULE = {"V1": 0.5, "V2": 1.5}  # mean number of marks beyond the first
_OFF_MM = (1.0, 3.0)
_JITTER_MM = 0.7
_FALSE_GAP_MM = 2.5

# LUNA16: 34.4 rows of diameter -1 per series (1 to 261), 36.4 % of them exact duplicates of others.
_UNSIZED_PER_SCAN = 34.4
_DISPERSION = 2.5
_REPEATED = 0.364


@dataclass(frozen=True)
class Candidate:
    """One mark, mm about the scan centre.

    Attributes:
        center: [3].
        nodule: index of the nodule it points at, -1 for a false one.
        kind: `nodule`, or what the false one sits on.
    """

    center: FloatArray
    nodule: int
    kind: str


def draw_candidates(rng: np.random.Generator, patient: Patient) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """The marks of the two LUNA16 tables: those of candidates.csv and those of candidates_V2.csv, shuffled."""
    nodules = patient.nodules
    false = [Candidate(item.center, -1, item.kind) for item in patient.lookalikes]
    false += _on_anatomy(rng, patient, max(0, patient.n_false - len(false)))
    tables = []
    # One draw decides both tables, as V2 contains what V1 had found.
    luck = rng.uniform(size=len(nodules))
    for version, missed in (("V1", _MISSED_BY_V1), ("V2", _MISSED_BY_V2)):
        rows = []
        for i, nodule in enumerate(nodules):
            count = 1 + int(rng.poisson(_MORE_PER_NODULE[version]))
            rows += [_mark(rng, nodule, i) for _ in range(count if luck[i] >= missed else 0)]
        for mark in false:
            kept = version == "V2" or rng.uniform() < _SHARE_OF_V1
            moved = mark.center + rng.normal(0, _JITTER_MM, 3)
            if kept and clear_of(nodules, moved[None], 0.5)[0]:
                rows.append(Candidate(moved, -1, mark.kind))
        tables.append(tuple(rows[i] for i in rng.permutation(len(rows))))
    return tables[0], tables[1]


def draw_excluded(rng: np.random.Generator, patient: Patient) -> list[tuple[FloatArray, float]]:
    """Rows of annotations_excluded.csv: (centre, diameter in mm or -1), with LUNA16's statistics.

    Two or three readers' own marks of each nodule (the official file holds three or four; fewer here keep the share of
    diameter -1 at 87 % with more nodules in a scan), then findings without a size, more than a third of them repeated
    exactly: the patient's specks and other places in the lung.
    """
    rows = []
    for nodule in patient.nodules:
        radius = 0.5 * nodule.diameter_mm
        for _ in range(int(rng.integers(2, 4))):
            center = nodule.center + random_directions(rng, 1)[0] * rng.uniform(0, 0.12) * radius
            rows.append((center, nodule.diameter_mm * float(rng.uniform(0.88, 1.10))))
    n_unsized = max(1, int(rng.negative_binomial(_DISPERSION, _DISPERSION / (_DISPERSION + _UNSIZED_PER_SCAN))))
    different = max(1, round(n_unsized * (1 - _REPEATED)))
    others = lung_points(rng, patient.thorax, 4 * different + 8)
    others = others[clear_of(patient.nodules, others, 6.0)]
    points = np.concatenate([patient.specks, others])[:different]
    repeats = points[rng.integers(len(points), size=n_unsized - len(points))]
    rows += [(point, -1.0) for point in np.concatenate([points, repeats])]
    return [rows[i] for i in rng.permutation(len(rows))]


def _mark(rng: np.random.Generator, nodule: Nodule, index: int) -> Candidate:
    """1 to 3 mm off the centre, less where that would leave the nodule."""
    reach = 0.42 * nodule.diameter_mm
    off = rng.uniform(min(_OFF_MM[0], 0.5 * reach), min(_OFF_MM[1], reach))
    return Candidate(nodule.center + off * random_directions(rng, 1)[0], index, "nodule")


def _on_anatomy(rng: np.random.Generator, patient: Patient, count: int) -> list[Candidate]:
    sites = _sites(rng, patient)
    # A kind without a place in this chest gives its share to the others.
    kinds = [kind for kind, points in sites.items() if len(points)]
    weights = np.array([ANATOMY_WEIGHTS[kind] for kind in kinds])
    marks: list[Candidate] = []
    while len(marks) < count:
        kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
        point = sites[kind][int(rng.integers(len(sites[kind])))]
        if clear_of(patient.nodules, point[None], _FALSE_GAP_MM)[0]:
            marks.append(Candidate(point, -1, kind))
    return marks


def _sites(rng: np.random.Generator, patient: Patient) -> dict[str, FloatArray]:
    """Places on ordinary anatomy by kind, inside the scan and near or in the lung."""
    thorax, trees, ribs = patient.thorax, patient.trees, patient.ribs
    forks = np.concatenate([tree.nodes[tree.branchings] for tree in trees.vessels])
    fork_radius = np.concatenate([tree.radius[tree.branchings] for tree in trees.vessels])
    tubes = trees.vessel_tubes
    wide = (tubes.radius_end > 0.4) & (tubes.radius_end < 2.5)
    airways = trees.airway_wall
    side = random_directions(rng, len(airways)) * airways.radius_end[:, None]
    sites = {
        "vessel_branching": forks[fork_radius < 3.0],
        "vessel": 0.5 * (tubes.start + tubes.end)[wide],
        "pleura": at_depth(thorax, lung_points(rng, thorax, 120), rng.uniform(1.0, 5.0, 120)),
        # The part of the knob that the lung sees.
        "rib_end": ribs.ends * [0.96, 0.96, 1.0],
        "airway_wall": 0.5 * (airways.start + airways.end) + side,
    }
    inside = 0.88 * thorax.half_height
    return {
        kind: points[(np.abs(points[:, 2]) < inside) & (thorax.lung_depth(points)[0] < 6.0)] if len(points) else points
        for kind, points in sites.items()
    }
