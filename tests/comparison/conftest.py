"""Runs without training: networks that see the same rows, some hard for all, with more or less noise of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.comparison.runs import ComparedRun
from lungdet.evaluation.predictions import check_predictions

MakeRun = Callable[..., ComparedRun]

PROVENANCE = {
    "classes": ["non_nodule", "nodule"],
    "split_hash": "7c0ffee",
    "split_rule": "holdout",
    "fold": 0,
    "seed": 0,
}
HISTORY = pd.DataFrame(
    {
        "epoch": [0, 1, 2],
        "train/loss": [0.7, 0.4, 0.3],
        "val/loss": [0.7, 0.5, 0.45],
        "val/auroc": [0.6, 0.8, 0.85],
    }
)


def cohort(*, n_patients: int = 60, n_rows: int = 20, seed: int = 0) -> pd.DataFrame:
    """Rows with a latent difficulty that all networks share; every fifth row is a nodule; a third validates."""
    rng = np.random.default_rng(seed)
    n = n_patients * n_rows
    patient, place = np.divmod(np.arange(n), n_rows)
    label = (place % 5 == 0).astype(np.int64)
    shared = rng.normal(size=n) + 0.7 * rng.normal(size=n_patients)[patient]
    return pd.DataFrame(
        {
            "series_uid": [f"1.2.840.{p:03d}" for p in patient],
            "patient_id": [f"P{p:03d}" for p in patient],
            "candidate_id": place,
            "center_x_mm": place * 3.0,
            "center_y_mm": patient * 1.0,
            "center_z_mm": -10.0,
            "label": label,
            "diameter_mm": np.where(label == 1, 8.0, np.nan),
            "shared": shared,
            "fold": 0,
            "partition": np.where(patient < n_patients // 3, "val", "test"),
        }
    )


def make_run(
    name: str,
    *,
    skill: float = 2.0,
    noise: float = 0.4,
    seed: int = 0,
    rows: pd.DataFrame | None = None,
    settings: dict[str, Any] | None = None,
    **provenance: Any,
) -> ComparedRun:
    """A network: label times skill, what is hard for all, and noise of its own."""
    rows = cohort() if rows is None else rows
    rng = np.random.default_rng([seed, 1])
    logit = rows["label"] * skill + rows["shared"] + noise * rng.normal(size=len(rows)) - 2
    return ComparedRun(
        name,
        check_predictions(rows.assign(logit=logit.astype(np.float32))),
        provenance=PROVENANCE | provenance,
        settings={"optim": {"lr": 0.001}, "seed": seed} if settings is None else settings,
        history=HISTORY * (1 + 0.01 * seed),
    )


@pytest.fixture
def run() -> MakeRun:
    return make_run


@pytest.fixture
def rows() -> pd.DataFrame:
    return cohort()
