"""The rows on which runs disagree most: those whose place in the ranking differs most from run to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from lungdet.errors import LungdetError
from lungdet.evaluation.shown import PictureLoader, WholeImage
from lungdet.evaluation.views import View

_SHOWN = [
    "series_uid",
    "patient_id",
    "candidate_id",
    "label",
    "diameter_mm",
    "center_x_mm",
    "center_y_mm",
    "center_z_mm",
]


@dataclass(frozen=True)
class Disagreement:
    """One row that the runs rank differently.

    Attributes:
        row: its series, patient, candidate id, label, diameter and centre.
        probability: run -> what it gave.
        percentile: run -> share of all compared rows that score lower in that run, ties counting half: 0 to 100.
        spread: largest percentile minus smallest.
        views: axial, coronal, sagittal, or the whole image; empty when there are no pixels.
        problem: why there are none.
    """

    row: dict[str, Any]
    probability: dict[str, float]
    percentile: dict[str, float]
    spread: float
    views: tuple[View | WholeImage, ...] = field(default=(), repr=False)
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Without the pictures."""
        return {
            **self.row,
            "probability": self.probability,
            "percentile": self.percentile,
            "spread": self.spread,
        }


def find_disagreements(
    tables: Mapping[str, pd.DataFrame], *, n: int, load_pictures: PictureLoader | None = None
) -> dict[str, tuple[Disagreement, ...]]:
    """Rank the rows by how far their percentiles lie apart, positives and negatives for themselves.

    Scores of two networks have no common scale, and calibration would hide in their difference; ranks do have one.
    Negatives are many, so that in one list they would leave no room for the positives.

    Args:
        tables: run -> its predictions, the same rows in the same order.
        n: how many of each class.
        load_pictures: gives the pictures of a row; None leaves them out.

    Returns:
        `positives` and `negatives`, each worst first; equal spreads in the order of the table. Rows on which all runs
        agree are left out.
    """
    percentiles = {name: _percentiles(table["logit"].to_numpy(dtype=np.float64)) for name, table in tables.items()}
    stacked = np.stack(list(percentiles.values()))
    spread = stacked.max(axis=0) - stacked.min(axis=0)
    label = next(iter(tables.values()))["label"].to_numpy()
    chosen = {}
    for group, of_group in (("positives", label == 1), ("negatives", label == 0)):
        rows = np.flatnonzero(of_group & (spread > 0))
        worst = rows[np.argsort(-spread[rows], kind="stable")[:n]]
        chosen[group] = tuple(
            _disagreement(int(i), tables, percentiles, float(spread[i]), load_pictures) for i in worst
        )
    return chosen


def _percentiles(logit: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    ranks: npt.NDArray[np.float64] = 100 * (rankdata(logit) - 0.5) / max(1, logit.size)
    return ranks


def _disagreement(
    i: int,
    tables: Mapping[str, pd.DataFrame],
    percentiles: Mapping[str, npt.NDArray[np.float64]],
    spread: float,
    load_pictures: PictureLoader | None,
) -> Disagreement:
    row = next(iter(tables.values())).iloc[i]
    views: tuple[View | WholeImage, ...] = ()
    problem = ""
    if load_pictures is not None:
        try:
            views = load_pictures(row)
        except LungdetError as error:
            problem = str(error)
    return Disagreement(
        row={name: value.item() if isinstance(value := row[name], np.generic) else value for name in _SHOWN},
        probability={name: float(table["probability"].iloc[i]) for name, table in tables.items()},
        percentile={name: float(values[i]) for name, values in percentiles.items()},
        spread=spread,
        views=views,
        problem=problem,
    )
