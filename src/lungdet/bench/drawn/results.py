"""Results without a network: a detector's marks in a LUNA16-like collection, and predictions of its candidates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.predictions import check_predictions

_UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.{:030d}"
_LOW_MM, _HIGH_MM = (-140.0, -120.0, -320.0), (140.0, 120.0, -20.0)
# Of the nodules; the others are missed.
_MARKED = 0.95
# LUNA16 has 30 excluded places for each nodule.
_EXCLUDED_PER_NODULE = 30


class Submission(NamedTuple):
    """What `evaluate_froc` takes; tables as `lungdet.io.luna16_tables` reads them."""

    annotations: pd.DataFrame
    excluded: pd.DataFrame
    seriesuids: tuple[str, ...]
    marks: pd.DataFrame


def draw_submission(*, n_marks: int, n_series: int = 888, n_nodules: int = 1186, seed: int = 0) -> Submission:
    """Marks near most nodules, the rest anywhere; marks on nodules score higher, with overlap."""
    rng = np.random.default_rng(seed)
    uids = _uids(n_series)
    owner = np.sort(rng.integers(0, n_series, n_nodules))
    center = rng.uniform(_LOW_MM, _HIGH_MM, (n_nodules, 3))
    diameter = np.exp(rng.normal(np.log(6.4), 0.5, n_nodules)).clip(3.3, 32.0)
    excluded = rng.integers(0, n_series, _EXCLUDED_PER_NODULE * n_nodules)
    found = np.flatnonzero(rng.random(n_nodules) < _MARKED)
    n_other = n_marks - len(found)
    marked = np.concatenate([owner[found], rng.integers(0, n_series, n_other)])
    near = center[found] + rng.uniform(-0.25, 0.25, (len(found), 3)) * diameter[found, None]
    places = np.concatenate([near, rng.uniform(_LOW_MM, _HIGH_MM, (n_other, 3))])
    score = 1 / (1 + np.exp(-np.concatenate([rng.normal(1.0, 1.5, len(found)), rng.normal(-4.0, 1.5, n_other)])))
    order = np.argsort(marked, kind="stable")
    return Submission(
        _points(uids, owner, center).assign(diameter_mm=diameter),
        _points(uids, excluded, rng.uniform(_LOW_MM, _HIGH_MM, (len(excluded), 3))).assign(diameter_mm=-1.0),
        tuple(uids),
        _points(uids, marked[order], places[order]).assign(probability=score[order]),
    )


def draw_predictions(*, n_rows: int, n_series: int = 888, positives_in: int = 485, seed: int = 0) -> pd.DataFrame:
    """A table as `check_predictions` leaves it: one nodule in `positives_in` rows, a quarter of the patients validates.

    The logits are shifted as balanced sampling shifts them, so that calibration has something to do.
    """
    rng = np.random.default_rng(seed)
    series = np.sort(rng.integers(0, n_series, n_rows))
    label = np.zeros(n_rows, np.int8)
    label[rng.choice(n_rows, max(2, n_rows // positives_in), replace=False)] = 1
    diameter = np.exp(rng.normal(np.log(8.0), 0.5, n_rows)).clip(3.3, 31.0)
    logit = rng.normal(-4.0, 1.8, n_rows) + label * (3.0 + 1.4 * np.log2(diameter / 5))
    patients = pd.Series([f"P{number:06d}" for number in range(n_series)])
    table = _points(_uids(n_series), series, rng.uniform(_LOW_MM, _HIGH_MM, (n_rows, 3))).assign(
        patient_id=patients.take(series).array,
        candidate_id=np.arange(n_rows),
        label=label,
        diameter_mm=np.where(label == 1, diameter, np.nan),
        logit=logit.astype(np.float32),
        fold=0,
        partition=np.where(series < n_series // 4, "val", "test"),
    )
    return check_predictions(table)


def _uids(n_series: int) -> list[str]:
    return [_UID.format(number) for number in range(n_series)]


def _points(uids: list[str], owner: npt.NDArray[np.int64], center: npt.NDArray[np.float64]) -> pd.DataFrame:
    columns = {f"center_{axis}_mm": center[:, n] for n, axis in enumerate("xyz")}
    return pd.DataFrame({"series_uid": pd.Series(uids).take(owner).array, **columns})
