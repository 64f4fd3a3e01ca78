"""Predictions without a model: a small cohort whose scores and sizes are known, and crops of a synthetic chest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest


def simulated_predictions(
    *, n_patients: int = 24, n_rows: int = 2000, n_positive: int = 60, seed: int = 0
) -> pd.DataFrame:
    """Val is the first third of the patients. Positives score higher the larger they are; all logits are shifted down
    so that few pass 0.5.
    """
    rng = np.random.default_rng(seed)
    patient = np.sort(rng.integers(0, n_patients, n_rows))
    label = np.zeros(n_rows, dtype=np.int64)
    label[rng.choice(n_rows, n_positive, replace=False)] = 1
    diameter = np.where(label == 1, np.exp(rng.normal(np.log(8.0), 0.5, n_rows)).clip(3.1, 31), np.nan)
    logit = rng.normal(-4.0, 1.2, n_rows) + label * (1.6 + 1.4 * np.log2(np.nan_to_num(diameter, nan=8.0) / 5))
    return pd.DataFrame(
        {
            "series_uid": [f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{p:04d}" for p in patient],
            "patient_id": [f"LIDC-IDRI-{p:04d}" for p in patient],
            "candidate_id": np.arange(n_rows),
            "center_x_mm": rng.uniform(-150, 150, n_rows),
            "center_y_mm": rng.uniform(-150, 150, n_rows),
            "center_z_mm": rng.uniform(-300, 0, n_rows),
            "label": label,
            "diameter_mm": diameter,
            "logit": logit.astype(np.float32),
            "fold": 0,
            "partition": np.where(patient < n_patients // 3, "val", "test"),
        }
    )


def synthetic_crop(row: Any) -> tuple[np.ndarray, tuple[float, float, float], tuple[float, ...]]:
    """Lung with vessels, a ball of the row's diameter for positives and a branching for the others; 64 mm."""
    rng = np.random.default_rng(int(row["candidate_id"]))
    z, y, x = (np.arange(64) - 32 for _ in range(3))
    grid = np.stack(np.meshgrid(z, y, x, indexing="ij"), -1).astype(float)
    hu = np.full(grid.shape[:3], -860.0)
    n_vessels = 3 if row["label"] == 1 else 5
    for i in range(n_vessels):
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        start = np.zeros(3) if (row["label"] == 0 and i < 3) else rng.uniform(-25, 25, 3)
        offset = grid - start
        along = offset @ axis
        across = np.sqrt(np.maximum((offset**2).sum(-1) - along**2, 0))
        hu = np.maximum(hu, 900 / (1 + np.exp(3 * (across - rng.uniform(1.0, 2.2)))) - 860)
    if row["label"] == 1:
        radius = np.sqrt((grid**2).sum(-1))
        hu = np.maximum(hu, 900 / (1 + np.exp(2.5 * (radius - row["diameter_mm"] / 2))) - 860)
    wall = grid[..., 1] - 0.3 * grid[..., 0] > rng.uniform(14, 24)
    hu[wall] = 40
    hu += rng.normal(0, 25, hu.shape)
    return hu.clip(-1024, 3071).astype(np.int16), (1.0, 1.0, 1.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)


@pytest.fixture(scope="session")
def simulate() -> Callable[..., pd.DataFrame]:
    return simulated_predictions


@pytest.fixture
def predictions() -> pd.DataFrame:
    return simulated_predictions()


@pytest.fixture(scope="session")
def load_crop() -> Callable[[Any], tuple[np.ndarray, tuple[float, float, float], tuple[float, ...]]]:
    return synthetic_crop
