"""Sweeps end with one table and page; jobs may need two processes, or run beside each other; failures are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lungdet.evaluation.predictions import read_predictions

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

Command = Callable[..., None]


def test_a_sweep_ends_with_a_table_of_its_runs(
    workplace: Path, lungdet: Command, tiny_training: tuple[str, ...]
) -> None:
    folder = workplace / "runs" / "sweep"
    lungdet("train", "-m", *tiny_training, "trainer.max_epochs=1", "optim=sgd,adamw", f"hydra.sweep.dir={folder}")
    for job in ("0", "1"):
        assert (folder / job / "report.html").exists()
    table = pd.read_csv(folder / "sweep.csv")
    assert sorted(table["optim"]) == ["adamw", "sgd"]
    assert table["val/auroc"].is_monotonic_decreasing
    for _, row in table.iterrows():
        report = json.loads((folder / str(row["run"]) / "report.json").read_text())
        assert row["test_auroc"] == report["ranking"]["test"]["auroc"]["value"]
    assert "0/report.html" in (folder / "sweep.html").read_text()


def test_two_processes_inside_a_sweep_work(
    workplace: Path, lungdet_process: Command, tiny_training: tuple[str, ...]
) -> None:
    """Each job gets a process of its own, in which Lightning can start the other one."""
    folder = workplace / "runs" / "sweep-ddp"
    lungdet_process(
        "train", "-m", *tiny_training, "trainer.max_epochs=1", "trainer.devices=2", "seed=1,2",
        f"hydra.sweep.dir={folder}",
    )  # fmt: skip
    logits = [read_predictions(folder / job / "predictions.parquet")["logit"] for job in ("0", "1")]
    assert not logits[0].equals(logits[1]), "another seed, other weights"
    assert pd.read_csv(folder / "sweep.csv")["status"].tolist() == ["finished", "finished"]


def test_jobs_beside_each_other_and_one_that_fails(
    workplace: Path, lungdet_process: Command, tiny_training: tuple[str, ...]
) -> None:
    """The failure happened in another process; the table and the exit code know it all the same.

    The cohort is made in the workers of joblib, which have their own way of starting processes, and so is a loader's.
    """
    folder = workplace / "runs" / "sweep-joblib"
    elsewhere = (f"data.root={workplace}/joblib", f"data.store_path={workplace}/joblib.zarr", "data.num_workers=1")
    with pytest.raises(AssertionError, match="optim: Invalid learning rate: -1"):
        lungdet_process(
            "train", "-m", *tiny_training, "trainer.max_epochs=1", "optim.lr=0.001,-1", *elsewhere,
            "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={folder}",
        )  # fmt: skip
    table = pd.read_csv(folder / "sweep.csv").set_index("optim.lr")
    assert table["status"].to_dict() == {0.001: "finished", -1.0: "failed"}
    assert "Invalid learning rate" in table["reason"].to_dict()[-1.0]
