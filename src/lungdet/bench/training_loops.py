"""One epoch of the same network, data and logging: a plain PyTorch loop, and the way `lungdet train` goes."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.profilers import Profiler
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lungdet.data.augment import CropAugmentation
from lungdet.data.candidate_dataset import RawBatch
from lungdet.data.candidates import CandidateSamples
from lungdet.data.intensity import Window
from lungdet.data.sample import ClassBatch
from lungdet.metrics.ranking import auroc
from lungdet.tasks.candidate_classification import CandidateClassification
from lungdet.training.callbacks import History, RunCheckpoint, RunEarlyStopping
from lungdet.training.loggers import TensorBoard

SPACING_ZYX_MM = (1.0, 1.0, 1.0)
_NEXT_BATCH = "[_TrainingEpochLoop].train_dataloader_next"


@dataclass(frozen=True)
class Arithmetic:
    """How a step computes.

    Attributes:
        bf16: autocast to bfloat16; weights, losses and logits stay float32.
        channels_last: the network's own memory format.
        compiled: through torch.compile.
    """

    bf16: bool = False
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        words = ["bf16" if self.bf16 else "fp32", "channels_last" if self.channels_last else "contiguous"]
        return ", ".join([*words, *(["compiled"] if self.compiled else [])])


class CropsInMemory(Dataset[RawBatch]):
    """Random crops, the same in every epoch, handed over as the store's dataset does.

    Args:
        count: how many samples an epoch has.
        shape_zyx: voxels of a crop.
        pool: how many different crops; more than the processor's caches hold are enough.
    """

    def __init__(self, count: int, shape_zyx: Sequence[int], *, pool: int = 64) -> None:
        self.count = count
        random = np.random.default_rng(0)
        self._hu = random.integers(-1000, 400, (pool, 1, *shape_zyx), dtype=np.int16)

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, draws: Sequence[int]) -> RawBatch:
        """The batch of these numbers."""
        drawn = np.asarray(draws, np.int64)
        return {
            "hu": torch.from_numpy(self._hu.take(drawn % len(self._hu), axis=0)),
            "label": torch.from_numpy(drawn % 2),
            "index": torch.from_numpy(drawn),
            "draw": torch.from_numpy(drawn),
        }


@dataclass(frozen=True)
class Preparation:
    """What happens to a batch around its way to the device, as in `CtDataModule`."""

    window: Window = field(default_factory=Window)
    augment: CropAugmentation = field(default_factory=CropAugmentation)

    def before_transfer(self, batch: RawBatch, *, epoch: int) -> RawBatch:
        """Decide how each sample is augmented."""
        batch["augmentation"] = self.augment.draw(
            batch["draw"].numpy(), seed=0, epoch=epoch, spacing_zyx_mm=SPACING_ZYX_MM
        )
        return batch

    def after_transfer(self, batch: RawBatch) -> ClassBatch:
        """Augment and window, on the device."""
        depth, height, width = batch["hu"].shape[2:]
        return CandidateSamples().finish(
            batch, window=self.window, augment=self.augment, shape_zyx=(depth, height, width)
        )


class PreparedCrops(pl.LightningDataModule):
    """Those batches for Lightning."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__()
        self.loader, self.preparation = loader, Preparation()

    def train_dataloader(self) -> DataLoader[Any]:
        """The loader as given."""
        return self.loader

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """See `Preparation.before_transfer`."""
        assert self.trainer is not None
        return self.preparation.before_transfer(batch, epoch=self.trainer.current_epoch)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """See `Preparation.after_transfer`."""
        return self.preparation.after_transfer(batch)


class PlainLoop:
    """The loop that a person would write: nothing but the network, its loss and its optimiser.

    Args:
        net: on the CPU; moved to the device.
        loss: outputs, labels -> float32 [B].
        arithmetic: of the steps.
        device: where.
    """

    def __init__(self, net: nn.Module, loss: nn.Module, *, arithmetic: Arithmetic, device: torch.device) -> None:
        self.arithmetic, self.device, self.loss = arithmetic, device, loss
        self.memory_format = memory_format_of(net) if arithmetic.channels_last else torch.contiguous_format
        self.net = net.to(device).to(memory_format=self.memory_format).train()
        if arithmetic.compiled:
            self.net.compile()
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3)
        self.preparation = Preparation()

    def step(self, raw: RawBatch) -> tuple[Tensor, Tensor]:
        """One optimiser step: loss float32 [] and outputs float32 [B, K], both on the device."""
        moved = _moved(self.preparation.before_transfer(raw, epoch=0), self.device)
        batch = self.preparation.after_transfer(moved)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.arithmetic.bf16):
            outputs = self.net(batch["image"].to(memory_format=self.memory_format)).float()
            loss: Tensor = self.loss(outputs, batch["label"]).mean()
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach(), outputs.detach()

    def epoch(self, loader: DataLoader[Any]) -> float:
        """Train one epoch, and compute at its end what a person looks at; seconds."""
        started = time.perf_counter()
        losses, logits, labels = [], [], []
        for raw in loader:
            labels.append(raw["label"])
            loss, outputs = self.step(raw)
            losses.append(loss)
            logits.append(outputs[:, -1] - (outputs[:, 0] if outputs.shape[1] == 2 else 0))
        torch.stack(losses).mean().item()
        auroc(torch.cat(labels).numpy() == 1, torch.cat(logits).cpu().numpy().astype(np.float64))
        return time.perf_counter() - started


class EpochClock(pl.Callback):
    """Seconds from the start of a training epoch until its metrics are logged; checkpoints are not counted."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start."""
        self.seconds = -time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop."""
        self.seconds += time.perf_counter()


class WaitingClock(Profiler):
    """Seconds that the training loop has waited for its next batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def start(self, action_name: str) -> None:
        """Called by Lightning around everything it does."""
        if action_name == _NEXT_BATCH:
            self.seconds -= time.perf_counter()

    def stop(self, action_name: str) -> None:
        """The same."""
        if action_name == _NEXT_BATCH:
            self.seconds += time.perf_counter()


class LightningPath:
    """The task under a trainer with what a default run has: progress bar (drawn to nowhere), TensorBoard, callbacks.

    Args:
        task: whose weights go on from epoch to epoch.
        bf16: `trainer.precision=bf16-mixed`.
        device: `cpu` or `cuda`.
        folder: for checkpoints and event files.
    """

    def __init__(self, task: CandidateClassification, *, bf16: bool, device: torch.device, folder: Path) -> None:
        self.task, self.bf16, self.device, self.folder = task, bf16, device, folder

    def epoch(self, loader: DataLoader[Any]) -> tuple[float, float]:
        """Train one epoch; its seconds, and how many of them it waited for batches."""
        clock, waiting = EpochClock(), WaitingClock()
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu" if self.device.type == "cpu" else "gpu",
            devices=1,
            precision="bf16-mixed" if self.bf16 else "32-true",
            callbacks=[
                clock,
                RunCheckpoint(monitor="train/loss", mode="min"),
                RunEarlyStopping(monitor="train/loss", mode="min"),
                RichProgressBar(console_kwargs={"file": io.StringIO(), "force_terminal": True}),
                History(),
            ],
            logger=TensorBoard(save_dir=str(self.folder)),
            profiler=waiting,
            log_every_n_steps=10,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            enable_model_summary=False,
            default_root_dir=self.folder,
        )
        trainer.fit(self.task, datamodule=PreparedCrops(loader))
        return clock.seconds, waiting.seconds


def make_task(
    net: nn.Module, loss: nn.Module, *, arithmetic: Arithmetic, rate: float = 1e-3
) -> CandidateClassification:
    """The task with the optimiser of `PlainLoop`."""
    optim: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer] = partial(torch.optim.AdamW, lr=rate)
    return CandidateClassification(
        net=net,
        loss=loss,
        optim=optim,  # type: ignore[arg-type]
        channels_last=arithmetic.channels_last,
        compile=arithmetic.compiled,
    )


def memory_format_of(net: nn.Module) -> torch.memory_format:
    """The format that was measured to suit the network."""
    found: torch.memory_format = getattr(net, "memory_format", torch.contiguous_format)
    return found


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, dict):
        return {name: _moved(value, device) for name, value in batch.items()}
    return batch.to(device, non_blocking=True)
