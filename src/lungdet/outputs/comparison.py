"""Several recipes on one scan: which findings they share, and what each made of the annotated nodules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import TableError
from lungdet.outputs.findings import Finding, Point

SAME_PLACE_MM = 5.0
"""Findings nearer than this, or than the larger one's radius, are the same."""

Recipes = Mapping[str, Sequence[Finding]]

_CENTER = ["center_x_mm", "center_y_mm", "center_z_mm"]


@dataclass(frozen=True)
class Place:
    """A place that at least one recipe calls a nodule.

    Attributes:
        center_xyz_mm: of the finding that named it first.
        diameter_mm: of that finding.
        found: recipe -> its most probable finding there, below the threshold too; None where it has none.
    """

    center_xyz_mm: Point
    diameter_mm: float
    found: dict[str, Finding | None]

    @property
    def is_common(self) -> bool:
        """Whether every recipe calls it a nodule."""
        return all(finding is not None and finding.is_nodule for finding in self.found.values())


@dataclass(frozen=True)
class Nodule:
    """An annotated nodule and what hit it.

    Attributes:
        center_xyz_mm: annotated.
        diameter_mm: annotated.
        is_malignant: None where the annotations do not say.
        hit_by: recipe -> its most probable finding nearer than the radius, which is the challenge's rule; None: missed.
    """

    center_xyz_mm: Point
    diameter_mm: float
    is_malignant: bool | None
    hit_by: dict[str, Finding | None]


def called_places(recipes: Recipes) -> tuple[Place, ...]:
    """Every place that some recipe calls a nodule, once; those of the first recipe first, each by falling probability.

    Args:
        recipes: name -> findings as `ranked_findings` gives them.
    """
    places: list[Place] = []
    for findings in recipes.values():
        for finding in findings:
            if finding.is_nodule and not any(
                _is_same(finding, place.center_xyz_mm, place.diameter_mm) for place in places
            ):
                found = {
                    name: next(
                        (f for f in others if _is_same(f, finding.center_xyz_mm, finding.diameter_mm)),
                        None,
                    )
                    for name, others in recipes.items()
                }
                places.append(Place(finding.center_xyz_mm, finding.diameter_mm, found))
    return tuple(places)


def judge_annotations(annotations: pd.DataFrame, recipes: Recipes) -> tuple[Nodule, ...]:
    """What each recipe made of each annotated nodule, in the table's order.

    Args:
        annotations: of this scan: center_x_mm, center_y_mm, center_z_mm, diameter_mm; is_malignant if known.
        recipes: name -> findings as `ranked_findings` gives them.

    Raises:
        TableError: a column is missing.
    """
    missing = [name for name in (*_CENTER, "diameter_mm") if name not in annotations]
    if missing:
        raise TableError(f"annotations without {', '.join(missing)}; read them with read_annotations")
    nodules = []
    for row in annotations.to_dict("records"):
        x, y, z = (float(row[name]) for name in _CENTER)
        radius = float(row["diameter_mm"]) / 2
        hit_by = {
            name: next((f for f in findings if math.dist(f.center_xyz_mm, (x, y, z)) < radius), None)
            for name, findings in recipes.items()
        }
        malignant = bool(row["is_malignant"]) if "is_malignant" in row else None
        nodules.append(Nodule((x, y, z), 2 * radius, malignant, hit_by))
    return tuple(nodules)


def false_positives(findings: Sequence[Finding], nodules: Sequence[Nodule]) -> int:
    """Findings at the threshold that lie in no annotated nodule."""
    return sum(
        finding.is_nodule
        and not any(math.dist(finding.center_xyz_mm, n.center_xyz_mm) < n.diameter_mm / 2 for n in nodules)
        for finding in findings
    )


def positions(nodules: Sequence[Nodule]) -> npt.NDArray[np.float64]:
    """Centres of annotated nodules: float64 [K, 3]."""
    return np.array([nodule.center_xyz_mm for nodule in nodules], dtype=np.float64).reshape(-1, 3)


def _is_same(finding: Finding, center_xyz_mm: Point, diameter_mm: float) -> bool:
    # fmax: a diameter that is not known does not count.
    radius = float(np.fmax(np.fmax(finding.diameter_mm, diameter_mm) / 2, SAME_PLACE_MM))
    return math.dist(finding.center_xyz_mm, center_xyz_mm) < radius
