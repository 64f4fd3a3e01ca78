"""The average is what validation, checkpoints and predictions see; training and resuming go on from the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lungdet.errors import ConfigError
from lungdet.training.averaged_weights import AveragedWeights


class Task(pl.LightningModule):
    """One weight that the optimiser moves by one each step, a running statistic and a whole number."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1, bias=False)
        self.n_calls = torch.zeros((), dtype=torch.int64)
        self.net.register_buffer("n_calls", self.n_calls)
        nn.init.zeros_(self.net.weight)
        self.validated: list[float] = []
        self.trained: list[float] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.trained.append(float(self.net.weight.detach()))
        self.n_calls += 1
        loss: Tensor = -self.net.weight.sum()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.validated.append(float(self.net.weight.detach()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def trainer_in(folder: Path, average: AveragedWeights, *, epochs: int, accumulate: int = 1) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, default_root_dir=folder, callbacks=[average],
        accumulate_grad_batches=accumulate,
    )  # fmt: skip


def three_steps() -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader([0.0, 0.0, 0.0]), DataLoader([0.0])  # type: ignore[arg-type]


def averages(n: int, decay: float) -> list[float]:
    """The average after each step by hand: the weight is 1, 2, 3, ... after steps 1, 2, 3, ..."""
    found, average = [], 0.0
    for step in range(1, n + 1):
        used = min(decay, (1 + step) / (10 + step))
        average = used * average + (1 - used) * step
        found.append(average)
    return found


@pytest.mark.parametrize("decay", [0.0, 0.2, 0.9])
def test_validation_sees_the_average_and_training_does_not(tmp_path: Path, decay: float) -> None:
    task = Task()
    trainer_in(tmp_path, AveragedWeights(decay), epochs=2).fit(task, *three_steps())
    expected = averages(6, decay)
    assert task.validated == pytest.approx([expected[2], expected[5]])
    assert task.trained == [0, 1, 2, 3, 4, 5]
    assert float(task.net.weight.detach()) == pytest.approx(expected[5])  # what is left behind
    assert int(task.n_calls) == 6


def test_only_steps_of_the_optimiser_count(tmp_path: Path) -> None:
    task = Task()
    trainer_in(tmp_path, AveragedWeights(0.5), epochs=2, accumulate=3).fit(task, *three_steps())
    assert task.validated == pytest.approx(averages(2, 0.5))


def test_a_checkpoint_holds_the_average_and_a_resumed_run_is_exact(tmp_path: Path) -> None:
    class Saves(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    whole, task = Task(), Task()
    trainer_in(tmp_path, AveragedWeights(0.9), epochs=3).fit(whole, *three_steps())
    first = trainer_in(tmp_path, AveragedWeights(0.9), epochs=1)
    first.callbacks.append(Saves())  # type: ignore[attr-defined]
    first.fit(task, *three_steps())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]["net.weight"]
    assert float(saved) == pytest.approx(averages(3, 0.9)[2])
    resumed = Task()
    trainer_in(tmp_path, AveragedWeights(0.9), epochs=3).fit(
        resumed, *three_steps(), ckpt_path=tmp_path / "last.ckpt", weights_only=True
    )
    assert resumed.trained == [3, 4, 5, 6, 7, 8]
    assert resumed.validated == whole.validated[1:]
    assert torch.equal(resumed.net.weight, whole.net.weight)


def test_a_decay_that_never_forgets_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.average\.decay=1 must be at least 0 and below 1"):
        AveragedWeights(1)
