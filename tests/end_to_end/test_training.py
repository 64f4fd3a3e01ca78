"""The whole chain on a small cohort: train, predict, evaluate, resume, two processes, sweeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lungdet.evaluation.predictions import read_predictions

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]


def weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / f"{which}.ckpt", weights_only=True)["state_dict"]
    return state


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def history(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv").drop(columns="seconds")


@pytest.fixture(scope="module")
def done(workplace: Path) -> Path:
    """A run of two epochs, trained by the first test that needs it."""
    return workplace / "runs" / "done"


@pytest.fixture
def trained(done: Path, train: Train) -> Path:
    return done if (done / "report.html").exists() else train("done", "trainer.max_epochs=2")


def test_a_run_leaves_everything_that_is_promised(trained: Path) -> None:
    names = {p.name for p in trained.iterdir()}
    assert names >= {
        "config.yaml", "overrides.txt", "split.json", "provenance.json", "history.csv", "checkpoints",
        "predictions.parquet", "baseline.parquet", "report.json", "report.html", "curves.parquet", "log.txt",
    }  # fmt: skip
    provenance = json.loads((trained / "provenance.json").read_text())
    assert provenance["checkpoint"] == "checkpoints/best.ckpt"
    assert provenance["checkpoint_chosen_on"] == "val"
    assert provenance["seed"] == 0
    assert provenance["split_hash"] == json.loads((trained / "split.json").read_text())["hash"]
    assert len(history(trained)) == 2
    assert history(trained)["samples_seen"].tolist() == [32, 64]


def test_predictions_cover_validation_and_test_and_no_training_patient(trained: Path) -> None:
    table = read_predictions(trained / "predictions.parquet")
    split = json.loads((trained / "split.json").read_text())
    for partition in ("val", "test"):
        assert set(table.loc[table["partition"] == partition, "patient_id"]) <= set(split[partition])
    assert not set(table["patient_id"]) & set(split["train"])
    assert set(table["partition"]) == {"val", "test"}
    baseline = read_predictions(trained / "baseline.parquet")
    assert baseline["candidate_id"].tolist() == table["candidate_id"].tolist()


def test_eval_twice_gives_the_same_bytes(trained: Path, lungdet: Command) -> None:
    first = {name: (trained / name).read_bytes() for name in ("report.json", "report.html", "curves.parquet")}
    for _ in range(2):
        lungdet("eval", f"run={trained}", "evaluation.n_resamples=50")
        assert {name: (trained / name).read_bytes() for name in first} == first


def test_eval_needs_neither_model_nor_store(trained: Path, lungdet: Command, tmp_path: Path, workplace: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("predictions.parquet", "baseline.parquet", "provenance.json"):
        shutil.copy(trained / name, copy)
    lungdet("eval", f"run={copy}", "evaluation.n_resamples=50")
    a, b = (json.loads((folder / "report.json").read_text()) for folder in (trained, copy))
    assert a["ranking"] == b["ranking"]


def test_scoring_again_gives_the_same_predictions(trained: Path, lungdet: Command) -> None:
    before = (trained / "predictions.parquet").read_bytes()
    lungdet(
        "predict", f"run={trained}", "trainer=cpu", "trainer.enable_progress_bar=false", "evaluation.n_resamples=50"
    )
    assert (trained / "predictions.parquet").read_bytes() == before


def test_scoring_any_list_of_points(trained: Path, lungdet: Command, workplace: Path) -> None:
    annotations = workplace / "cohorts" / "phantom" / "annotations.csv"
    lungdet(
        "predict", f"run={trained}", f"candidates={annotations}", "out=scored.csv", "trainer=cpu",
        "trainer.enable_progress_bar=false",
    )  # fmt: skip
    scored = pd.read_csv(workplace / "scored.csv")
    assert len(scored) == len(pd.read_csv(annotations))
    assert scored["probability"].is_monotonic_decreasing
    assert np.allclose(1 / (1 + np.exp(-scored["logit"])), scored["probability"])
    assert set(scored["source"]) == {"annotations.csv"}


@pytest.mark.parametrize("variant", ["scheduler=constant", "scheduler=cosine", "scheduler=plateau"])
def test_a_resumed_run_equals_an_uninterrupted_one(variant: str, train: Train, workplace: Path) -> None:
    """Three epochs, against one epoch and two more: weights, history and predictions are the same bits."""
    name = variant.partition("=")[2]
    # The plateau scheduler has to act within three epochs to be seen.
    more = [variant, "scheduler.scheduler.patience=0"] if name == "plateau" else [variant]
    more += ["scheduler.scheduler.T_max=3"] if name == "cosine" else []
    whole = train(f"whole-{name}", "trainer.max_epochs=3", *more)
    train(f"parts-{name}", "trainer.max_epochs=1", *more)
    parts = train(f"parts-{name}", "trainer.max_epochs=3", "ckpt_path=last", *more)
    assert equal(weights(whole), weights(parts))
    pd.testing.assert_frame_equal(history(whole), history(parts), check_exact=True)
    assert (whole / "predictions.parquet").read_bytes() == (parts / "predictions.parquet").read_bytes()


def test_the_same_seed_gives_the_same_weights_and_another_does_not(train: Train) -> None:
    one, again, other = (
        weights(train(name, "trainer.max_epochs=1", f"seed={seed}"))
        for name, seed in (("s1", 1), ("s1b", 1), ("s2", 2))
    )
    assert equal(one, again)
    assert not equal(one, other)


@pytest.mark.slow
def test_loader_processes_change_nothing(train: Train) -> None:
    none, two = (train(f"w{n}", "trainer.max_epochs=1", f"data.num_workers={n}") for n in (0, 2))
    assert equal(weights(none), weights(two))


@pytest.mark.slow
def test_one_and_two_devices_evaluate_a_checkpoint_alike(trained: Path, lungdet_process: Command) -> None:
    one = json.loads((trained / "report.json").read_text())
    lungdet_process(
        "predict", f"run={trained}", "trainer=cpu", "trainer.devices=2", "trainer.enable_progress_bar=false",
        "evaluation.n_resamples=50",
    )  # fmt: skip
    two = json.loads((trained / "report.json").read_text())
    for partition in ("val", "test"):
        for metric, estimate in one["ranking"][partition].items():
            assert two["ranking"][partition][metric] == pytest.approx(estimate, abs=1e-6), metric


@pytest.mark.slow
def test_two_devices_train(workplace: Path, lungdet_process: Command, tiny_training: tuple[str, ...]) -> None:
    from lungdet.training.run_directory import RunDirectory

    run = workplace / "runs" / "ddp"
    lungdet_process("train", *tiny_training, "trainer.max_epochs=1", "trainer.devices=2", f"hydra.run.dir={run}")
    assert RunDirectory(run).checkpoint("best").exists()
    assert len(history(run)) == 1
    assert len(read_predictions(run / "predictions.parquet")) > 0
