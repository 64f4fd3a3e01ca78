"""A task and data so small that a Trainer runs in a second: one weight, sixteen numbers."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class TinyTask(pl.LightningModule):
    """Logistic regression on one number; logs what the callbacks look at."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)
        self.samples_seen: Tensor
        self.register_buffer("samples_seen", torch.zeros((), dtype=torch.int64))

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        index, x, label = batch
        self.samples_seen += len(index)
        loss = nn.functional.binary_cross_entropy_with_logits(self.net(x)[:, 0], label)
        self.log("train/loss", loss, on_epoch=True, on_step=False)
        self.log("samples_seen", self.samples_seen.float(), on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.log("val/auroc", 0.5 + 0.01 * self.current_epoch)

    def predict_step(self, batch: list[Tensor], *_: Any) -> dict[str, Tensor]:
        index, x, _label = batch
        return {"index": index, "logit": 2 * x[:, 0]}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(rows: list[int]) -> DataLoader[Any]:
    index = torch.tensor(rows)
    x = index.float()[:, None] / 16
    return DataLoader(TensorDataset(index, x, (x[:, 0] > 0.5).float()), batch_size=4)


@pytest.fixture
def tiny_task() -> TinyTask:
    torch.manual_seed(0)
    return TinyTask()


@pytest.fixture
def tiny_loader() -> DataLoader[Any]:
    return loader(list(range(16)))
