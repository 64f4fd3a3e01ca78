"""The same results whatever happens on the way: two processes, kill -9 at any moment, early stopping before it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lungdet.evaluation.predictions import read_predictions

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

TRAIN = Path(__file__).parents[2] / "src" / "lungdet" / "cli" / "train.py"

Command = Callable[..., None]
Train = Callable[..., Path]


def weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / f"{which}.ckpt", weights_only=True)["state_dict"]
    return state


def history(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv").drop(columns="seconds")


def test_one_and_two_processes_train_alike(
    workplace: Path, lungdet_process: Command, train: Train, tiny_training: tuple[str, ...]
) -> None:
    """The same global batches, augmentations and batch-norm statistics: only the order of sums differs."""
    two = workplace / "runs" / "two"
    one = train("one", "trainer.max_epochs=2")
    lungdet_process("train", *tiny_training, "trainer.max_epochs=2", "trainer.devices=2", f"hydra.run.dir={two}")
    expected, found = weights(one), weights(two)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)
    a, b = read_predictions(one / "predictions.parquet"), read_predictions(two / "predictions.parquet")
    assert a["candidate_id"].equals(b["candidate_id"])
    np.testing.assert_allclose(a["logit"], b["logit"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history(one), history(two), rtol=1e-3, atol=1e-4)
