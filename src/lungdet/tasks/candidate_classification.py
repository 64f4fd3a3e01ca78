"""Nodule or not: trains and applies a classifier of candidate crops. Owns steps and logged names, not paths or data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lungdet.data.sample import ClassBatch, SampleSpec
from lungdet.errors import ConfigError, ShapeError
from lungdet.losses.classification import binary_logit
from lungdet.metrics.classification import BinaryRanking, LossAndAccuracy
from lungdet.nets.shallow_convolution import guard_shallow_convolutions
from lungdet.tasks.optimisation import (
    OptimizerFactory,
    SchedulerSpec,
    configure_optimisation,
    step_plateau,
    unstepped_plateau_metric,
)

# On the progress bar; everything else goes to the loggers only.
_SHOWN = ("train/loss", "val/loss", "val/auroc")


class CandidateClassification(pl.LightningModule):
    """Binary classification of crops around candidates.

    Logged once per epoch, for `train` and `val`: `loss`, `percent_correct` (both also per class, as in
    `train/loss_nodule`), `auroc`, `average_precision`, `precision`, `recall`, `f1`, and beside them `samples_seen`, the
    training samples seen so far by all processes. Training metrics are those of the augmented samples while the weights
    change; validation counts every candidate once, however the processes share them.

    Two runs of N epochs, one of them resumed in between, are equal bit for bit on the CPU: what random layers draw
    depends on the seed, the epoch, the batch and the process only, and everything else is in the checkpoint.

    Args:
        net: float32 [B, C, D, H, W] -> outputs float32 [B, 2] (softmax pair) or [B, 1] (one logit).
        loss: outputs, labels int64 [B] -> float32 [B], not reduced. `fit_class_counts(counts)`, where it has one, is
            called before training with the class counts of the training fold.
        optim: makes the optimiser from parameters; None for prediction only.
        scheduler: how the learning rate changes; None keeps it.
        class_names: the negative and the positive class, as in logged names.
        channels_last: lay out weights and images as `net.memory_format` says, which was measured to be faster.
        compile: run the network through `torch.compile`; pays off after minutes, on GPUs.

    Raises:
        ConfigError: not two different class names.
    """

    samples_seen: Tensor

    def __init__(
        self,
        *,
        net: nn.Module,
        loss: nn.Module,
        optim: OptimizerFactory | None = None,
        scheduler: SchedulerSpec | None = None,
        class_names: Sequence[str] = ("non_nodule", "nodule"),
        channels_last: bool = True,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if len(class_names) != 2 or len(set(class_names)) != 2:
            raise ConfigError([f"model.class_names: needs two different names, got {list(class_names)}"])
        self.class_names = tuple(class_names)
        self.memory_format = torch.contiguous_format
        if channels_last:
            self.memory_format = getattr(net, "memory_format", torch.contiguous_format)
        guard_shallow_convolutions(net)
        self.net = net.to(memory_format=self.memory_format)
        self.loss = loss
        self.optim = optim
        self.scheduler = scheduler
        self.compiled = compile
        self.train_metrics = _EpochMetrics(self.class_names)
        self.val_metrics = _EpochMetrics(self.class_names)
        self.register_buffer("samples_seen", torch.zeros((), dtype=torch.int64))
        self._seed = 0
        self._unstepped_metric: float | None = None

    @property
    def logged_names(self) -> tuple[str, ...]:
        """Every name that is logged, and so can be monitored."""
        with_classes = ["", *(f"_{name}" for name in self.class_names)]
        metrics = [f"{metric}{suffix}" for metric in ("loss", "percent_correct") for suffix in with_classes]
        metrics += ["auroc", "average_precision", "precision", "recall", "f1"]
        return (*(f"{stage}/{metric}" for stage in ("train", "val") for metric in metrics), "samples_seen")

    def check_sample(self, spec: SampleSpec) -> list[str]:
        """Say in what the data does not fit this task: an empty list when it does."""
        problems = []
        if spec.target != "class":
            problems.append(f"the model classifies, the data has targets '{spec.target}'; choose another model")
        if tuple(spec.classes) != self.class_names:
            problems.append(f"the data has classes {list(spec.classes)}, the model {list(self.class_names)}")
        if spec.layout != "volume":
            return [*problems, f"the model takes volumes, the data gives samples of layout '{spec.layout}'"]
        try:
            check_input = getattr(self.net, "check_input", None)
            if check_input is not None:
                check_input(spec.channels, spec.shape)
        except ShapeError as error:
            problems.append(str(error))
        try:
            outputs = torch.zeros(1, getattr(self.net, "n_classes", 2))
            self.loss(outputs, torch.zeros(1, dtype=torch.int64))
        except ShapeError as error:
            problems.append(str(error))
        return problems

    def forward(self, image: Tensor) -> Tensor:
        """Float32 [B, C, D, H, W] -> outputs float32 [B, K], under autocast too."""
        outputs: Tensor = self.net(image.to(memory_format=self.memory_format))
        return outputs.float()

    def setup(self, stage: str) -> None:
        """Give the loss its class counts, note the seed and compile; Lightning restores a checkpoint after this."""
        if stage == "fit":
            self._seed = torch.initial_seed()
        fit_class_counts = getattr(self.loss, "fit_class_counts", None)
        if stage != "predict" and fit_class_counts is not None:
            datamodule = getattr(self.trainer, "datamodule", None)
            fit_class_counts(getattr(datamodule, "train_class_counts", ()))
        if self.compiled:
            self.net.compile()  # in place: names in the checkpoint stay as they are

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what Lightning does not: the seed of random layers, and a metric that the schedule has yet to see."""
        checkpoint["random_layers_seed"] = self._seed
        watches = self.scheduler is not None and self.scheduler.monitor is not None
        checkpoint["unstepped_metric"] = unstepped_plateau_metric(self.trainer) if watches else None

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take both up again."""
        self._seed = checkpoint.get("random_layers_seed", self._seed)
        self._unstepped_metric = checkpoint.get("unstepped_metric")

    def on_train_start(self) -> None:
        """Make the step of the schedule that the checkpoint was too early for."""
        if self._unstepped_metric is not None:
            step_plateau(self.trainer, self._unstepped_metric)
            self._unstepped_metric = None

    def on_train_batch_start(self, batch: ClassBatch, batch_idx: int) -> None:
        """Start the step's random numbers from (seed, epoch, batch, process), not from where the last step stopped."""
        entropy = np.random.SeedSequence([self._seed, self.current_epoch, batch_idx, self.global_rank])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))

    def training_step(self, batch: ClassBatch, batch_idx: int) -> Tensor:
        """Mean loss of a batch, float32 scalar. Nothing here waits for the device."""
        loss = self._observe(batch, self.train_metrics, None)
        self.samples_seen.add_(len(batch["label"]) * self.trainer.world_size)
        return loss

    def validation_step(self, batch: ClassBatch, batch_idx: int) -> None:
        """Observe a batch; rows that a distributed sampler repeats count once."""
        self._observe(batch, self.val_metrics, batch["index"])

    def predict_step(self, batch: ClassBatch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Give `index` int64 [B] and `logit` float32 [B] of the positive class; probability = sigmoid(logit)."""
        return {"index": batch["index"], "logit": binary_logit(self(batch["image"]))}

    def on_train_batch_end(self, outputs: Any, batch: ClassBatch, batch_idx: int) -> None:
        """Log the epoch with its last batch: callbacks see `on_train_epoch_end` before this module does."""
        if self.trainer.is_last_batch:
            self._log_epoch("train", self.train_metrics)

    def on_train_epoch_end(self) -> None:
        """Log an epoch that was stopped before its last batch."""
        if self.train_metrics.has_rows:
            self._log_epoch("train", self.train_metrics)

    def on_validation_epoch_end(self) -> None:
        """Log the validation of this epoch."""
        self._log_epoch("val", self.val_metrics)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build optimiser and schedule from the factories given."""
        return configure_optimisation(self.net.parameters(), optim=self.optim, scheduler=self.scheduler)

    def _observe(self, batch: ClassBatch, metrics: _EpochMetrics, index: Tensor | None) -> Tensor:
        outputs = self(batch["image"])
        loss: Tensor = self.loss(outputs, batch["label"])
        metrics.update(loss, binary_logit(outputs), label=batch["label"], index=index)
        return loss.mean()

    def _log_epoch(self, stage: str, metrics: _EpochMetrics) -> None:
        values = {f"{stage}/{name}": value for name, value in metrics.finish().items()}
        values["samples_seen"] = self.samples_seen.float()
        for shown in (True, False):
            part = {name: value for name, value in values.items() if (name in _SHOWN) == shown}
            # All processes hold the same values; sync_dist only tells Lightning so.
            self.log_dict(part, on_step=False, on_epoch=True, prog_bar=shown, sync_dist=True, batch_size=1)


class _EpochMetrics(nn.Module):
    """What is computed over one epoch of one stage."""

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__()
        self.accuracy = LossAndAccuracy(class_names)
        self.ranking = BinaryRanking()

    @property
    def has_rows(self) -> bool:
        return self.ranking.update_called

    def update(self, loss: Tensor, logit: Tensor, *, label: Tensor, index: Tensor | None) -> None:
        self.accuracy.update(loss, logit, label, index)
        self.ranking.update(logit, label, index)

    def finish(self) -> dict[str, Tensor]:
        """Values of the epoch over all processes; the next epoch starts empty."""
        values = {**self.accuracy.compute(), **self.ranking.compute()}
        self.accuracy.reset()
        self.ranking.reset()
        return values
