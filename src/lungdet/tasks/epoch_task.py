"""What every task that trains does alike: seeds of a step, replay of a schedule, samples seen, one log an epoch."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from lungdet.nets.shallow_convolution import guard_shallow_convolutions
from lungdet.nets.synced_batch_norm import synchronise_batch_norm
from lungdet.tasks.optimisation import (
    OptimizerFactory,
    SchedulerSpec,
    configure_optimisation,
    step_plateau,
    unstepped_plateau_metric,
)


class EpochMetrics(Protocol):
    """What is computed over one epoch of one stage."""

    @property
    def has_rows(self) -> bool:
        """Whether anything was observed since the last `finish`."""

    def finish(self) -> dict[str, Tensor]:
        """Values of the epoch over all processes, float32 scalars; the next epoch starts empty."""


class EpochTask(pl.LightningModule):
    """A network, its loss, and the wiring around them; subclasses give the steps and the two `EpochMetrics`.

    Two runs of N epochs, one of them resumed in between, are equal bit for bit on the CPU: what random layers draw
    depends on the seed, the epoch, the batch and the process only, and everything else is in the checkpoint. Several
    processes share the batch and the statistics of batch norms, so they train as one does, up to the order of sums (and
    up to dropout, which every process draws for itself).

    Args:
        net: tensor -> outputs.
        loss: outputs and what they are compared with -> float32 [B], not reduced.
        optim: makes the optimiser from parameters; None for prediction only.
        scheduler: how the learning rate changes; None keeps it.
        channels_last: lay out weights and images as `net.memory_format` says, which was measured to be faster.
        compile: run the network through `torch.compile`; pays off after minutes, on GPUs.

    Attributes:
        shown: logged names that stand on the progress bar; everything else goes to the loggers only.
        samples_seen: int64 scalar, training samples seen so far by all processes.
    """

    shown: ClassVar[tuple[str, ...]] = ()
    samples_seen: Tensor
    train_metrics: EpochMetrics
    val_metrics: EpochMetrics

    def __init__(
        self,
        *,
        net: nn.Module,
        loss: nn.Module,
        optim: OptimizerFactory | None,
        scheduler: SchedulerSpec | None,
        channels_last: bool,
        compile: bool,
    ) -> None:
        super().__init__()
        self.memory_format = torch.contiguous_format
        if channels_last:
            self.memory_format = getattr(net, "memory_format", torch.contiguous_format)
        guard_shallow_convolutions(net)
        self.net = net.to(memory_format=self.memory_format)
        self.loss = loss
        self.optim = optim
        self.scheduler = scheduler
        self.compiled = compile
        self.register_buffer("samples_seen", torch.zeros((), dtype=torch.int64))
        self._seed = 0
        self._unstepped_metric: float | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Images as the network takes them -> its outputs in float32, under autocast too."""
        outputs: Tensor = self.net(image.to(memory_format=self.memory_format))
        return outputs.float()

    def setup(self, stage: str) -> None:
        """Note the seed, join batch norms and compile; Lightning restores a checkpoint after this."""
        if stage == "fit":
            self._seed = torch.initial_seed()
            if self.trainer.world_size > 1:
                synchronise_batch_norm(self.net)
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

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Start the step's random numbers from (seed, epoch, batch, process), not from where the last step stopped."""
        entropy = np.random.SeedSequence([self._seed, self.current_epoch, batch_idx, self.global_rank])
        seed_random_layers(int(entropy.generate_state(1, np.uint64)[0] >> 1), self.device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
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

    def count_samples(self, index: Tensor) -> None:
        """Add the rows of a training batch, int64 [B], to those seen by all processes."""
        self.samples_seen.add_(len(index) * self.trainer.world_size)

    def _log_epoch(self, stage: str, metrics: EpochMetrics) -> None:
        values = {f"{stage}/{name}": value for name, value in metrics.finish().items()}
        values["samples_seen"] = self.samples_seen.float()
        for shown in (True, False):
            part = {name: value for name, value in values.items() if (name in self.shown) == shown}
            # All processes hold the same values; sync_dist only tells Lightning so.
            self.log_dict(part, on_step=False, on_epoch=True, prog_bar=shown, sync_dist=True, batch_size=1)


def seed_random_layers(seed: int, device: torch.device) -> None:
    """Seed the generators that layers on this device draw from, as `torch.manual_seed` would.

    That one also notes the seed, with a formatted stack, for every kind of accelerator that is not there: 2 ms of CPU
    time in every step, half of what Lightning's loop adds to a plain one.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
    elif device.type != "cpu":
        torch.manual_seed(seed)
