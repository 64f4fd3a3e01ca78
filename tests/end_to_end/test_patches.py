"""A folder of cubes trains, is split by patient and evaluated like any collection; what is wrong with it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lungdet.evaluation.predictions import read_predictions

pytestmark = pytest.mark.filterwarnings("default")

Command = Callable[..., None]

TINY = (
    "data=patches", "data.root=cubes", "data.crop.vox=[16,24,24]", "data.batch_size=8", "split=holdout",
    "split.val_fraction=0.3", "split.test_fraction=0.3", "model.net.conv_channels=2", "trainer=cpu",
    "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false",
    "callbacks.progress=null", "logger=none", "evaluation.n_resamples=50",
)  # fmt: skip


@pytest.fixture(scope="module")
def cubes(workplace: Path) -> Path:
    """Forty normalised cubes of ten patients; positives have a bright middle."""
    folder = workplace / "cubes"
    folder.mkdir()
    generator = np.random.default_rng(0)
    lines = {"patch_index.csv": ["file,patient_id"], "bg_index.csv": ["file,patient_id"]}
    for n in range(40):
        cube = generator.normal(0.2, 0.05, (18, 26, 28))
        if n % 2:
            cube[6:12, 10:16, 11:17] += 0.5
        np.save(folder / f"{n}.npy", cube.clip(0, 1).astype(np.float32))
        lines["patch_index.csv" if n % 2 else "bg_index.csv"].append(f"{n}.npy,P{n // 4}")
    for name, text in lines.items():
        (folder / name).write_text("\n".join(text) + "\n")
    return folder


@pytest.mark.usefixtures("cubes")
def test_cubes_train_and_are_evaluated(lungdet: Command, workplace: Path) -> None:
    run = workplace / "runs" / "cubes"
    lungdet("train", *TINY, "data.values=unit", f"hydra.run.dir={run}")
    predictions = read_predictions(run / "predictions.parquet")
    split = json.loads((run / "split.json").read_text())
    assert set(predictions["patient_id"]) == {*split["val"], *split["test"]}
    assert set(predictions["series_uid"].str.removesuffix(".npy").astype(int) // 4) == {
        int(patient[1:]) for patient in predictions["patient_id"]
    }
    baseline = read_predictions(run / "baseline.parquet")
    assert baseline.groupby("label")["logit"].agg(["min", "max"]).pipe(lambda t: t["max"][0] < t["min"][1]), (
        "mean HU alone tells these apart, if it is read from the cubes"
    )
    assert (run / "report.html").exists()


@pytest.mark.usefixtures("cubes")
def test_what_floats_mean_must_be_said_before_anything_runs(
    lungdet: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        lungdet("train", *TINY, "data.crop.vox=[16,24,32]")
    assert "data.crop is [16,24,32] voxels, the cubes are [18,26,28]" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        lungdet("train", *TINY)
    assert "data.values=unit with data.unit_range_hu=[low,high]" in capsys.readouterr().err
