"""Predictions without a model: a small cohort whose scores and sizes are known, and crops of a synthetic chest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.shown import PictureLoader, crop_pictures


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


def simulated_images(*, patients_known: bool = True, n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Images of about 150 patients, two thirds positive; a third of the patients is validation."""
    rng = np.random.default_rng(seed)
    patient, label = rng.integers(0, n // 2, n), (rng.random(n) < 2 / 3).astype(np.int64)
    names = [
        f"train/{'PNEUMONIA' if y else 'NORMAL'}/person{p}_{i}.jpeg"
        for i, (p, y) in enumerate(zip(patient, label, strict=True))
    ]
    return pd.DataFrame(
        {
            "series_uid": names,
            "patient_id": [f"person{p}" for p in patient] if patients_known else names,
            "candidate_id": np.arange(n),
            "center_x_mm": 0.0,
            "center_y_mm": 0.0,
            "center_z_mm": 0.0,
            "label": label,
            "diameter_mm": np.nan,
            "logit": (rng.normal(0, 1, n) + 2.5 * (label - 0.4)).astype(np.float32),
            "fold": 0,
            "partition": np.where(patient < n // 6, "val", "test"),
        }
    )


def synthetic_image(row: Any, *, channels: int = 1) -> np.ndarray:
    """48 x 64, a ramp whose grey follows the row's id; coloured ones differ from channel to channel."""
    ramp = (np.add.outer(np.arange(48), np.arange(64)) + 5 * int(row["candidate_id"])) % 256
    grey = ramp.astype(np.uint8)
    return grey if channels == 1 else np.stack([grey, 255 - grey, grey // 2], axis=-1)


@pytest.fixture(scope="session")
def simulate() -> Callable[..., pd.DataFrame]:
    return simulated_predictions


@pytest.fixture
def predictions() -> pd.DataFrame:
    return simulated_predictions()


@pytest.fixture(scope="session")
def load_pictures() -> PictureLoader:
    return crop_pictures(synthetic_crop)
