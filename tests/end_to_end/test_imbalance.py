"""Ways to treat imbalance, as a person types them: a resumed curriculum goes on where it was, also in two processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lungdet.evaluation.predictions import read_predictions

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]

CURRICULUM = ("imbalance=curriculum", "data.sampling.start_fraction=0.1", "data.sampling.epochs_until_all=2")


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def test_a_resumed_curriculum_equals_an_uninterrupted_one(train: Train) -> None:
    whole = train("curriculum-whole", "trainer.max_epochs=2", *CURRICULUM)
    train("curriculum-parts", "trainer.max_epochs=1", *CURRICULUM)
    parts = train("curriculum-parts", "trainer.max_epochs=2", "ckpt_path=last", *CURRICULUM)
    one, other = weights(whole), weights(parts)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (whole / "predictions.parquet").read_bytes() == (parts / "predictions.parquet").read_bytes()
    balanced = weights(train("curriculum-none", "trainer.max_epochs=2"))
    assert not all(torch.equal(one[name], balanced[name]) for name in one), "the curriculum showed other negatives"


def test_a_loss_that_repairs_imbalance_trains_a_pair_of_outputs(train: Train) -> None:
    run = train("pos-weight", "trainer.max_epochs=1", "imbalance=pos_weight")
    counts = json.loads((run / "report.json").read_text())["audit"]["partitions"]
    (labels,) = (part["labels"] for part in counts if part["name"] == "train")
    assert float(weights(run)["loss.pos_weight"]) == pytest.approx(labels["non_nodule"] / labels["nodule"])


@pytest.mark.slow
def test_two_processes_train_by_one_curriculum(
    workplace: Path, lungdet_process: Command, tiny_training: tuple[str, ...]
) -> None:
    run = workplace / "runs" / "curriculum-ddp"
    lungdet_process(
        "train", *tiny_training, *CURRICULUM, "trainer.max_epochs=1", "trainer.devices=2", f"hydra.run.dir={run}"
    )
    assert len(read_predictions(run / "predictions.parquet")) > 0
    assert (run / "log.txt").read_text().count("training rows ranked by the baseline") >= 1
