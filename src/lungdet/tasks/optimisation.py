"""Optimiser and learning-rate schedule, from the factories that YAML gives to what Lightning wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, cast

import pytorch_lightning as pl
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lungdet.errors import ConfigError

# From parameters, or from groups of them with options of their own, as torch.optim takes them.
OptimizerFactory = Callable[[Iterable[Parameter] | Iterable[dict[str, Any]]], Optimizer]


class SchedulerSpec:
    """How the learning rate changes during training.

    A plain class, not a dataclass: OmegaConf takes dataclass instances apart when they are handed to Hydra.

    Args:
        scheduler: makes the scheduler from the optimiser (`_partial_: true` in YAML); None keeps the rate as it is.
        monitor: logged name that `ReduceLROnPlateau` watches; no other scheduler takes one.
        interval: whether a step of the schedule is an epoch or an optimiser step.
        frequency: make every n-th step.

    Raises:
        ConfigError: `ReduceLROnPlateau` without `monitor` or another scheduler with one, an unknown interval, a
            frequency below 1.
    """

    def __init__(
        self,
        *,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        monitor: str | None = None,
        interval: Literal["epoch", "step"] = "epoch",
        frequency: int = 1,
    ) -> None:
        watches = getattr(scheduler, "func", scheduler) is ReduceLROnPlateau
        problems = []
        if watches and monitor is None:
            problems.append("scheduler.monitor: ReduceLROnPlateau needs a logged name; set scheduler.monitor=val/auroc")
        if monitor is not None and not watches:
            problems.append(f"scheduler.monitor: only ReduceLROnPlateau watches one, got {monitor!r}; set it to null")
        if interval not in ("epoch", "step"):
            problems.append(f"scheduler.interval: must be 'epoch' or 'step', got {interval!r}")
        if frequency < 1:
            problems.append(f"scheduler.frequency: must be at least 1, got {frequency}")
        if problems:
            raise ConfigError(problems)
        self.scheduler = scheduler
        self.monitor = monitor
        self.interval = interval
        self.frequency = frequency


def configure_optimisation(
    parameters: Iterable[Parameter] | Iterable[dict[str, Any]],
    *,
    optim: OptimizerFactory | None,
    scheduler: SchedulerSpec | None,
) -> OptimizerLRScheduler:
    """Build what `LightningModule.configure_optimizers` returns.

    Args:
        parameters: of the network, frozen ones are left out; or groups of them, which are taken as they are.
        optim: makes the optimiser from parameters (`_partial_: true` in YAML).
        scheduler: how the learning rate changes; None keeps it.

    Raises:
        ConfigError: no optimiser, as in a task that was built for prediction only.
    """
    if optim is None:
        raise ConfigError(["optim: training needs an optimiser; add optim=adamw or optim=sgd"])
    trained = [item for item in parameters if not isinstance(item, Parameter) or item.requires_grad]
    optimizer = optim(cast(list[Parameter], trained))
    if scheduler is None or scheduler.scheduler is None:
        return optimizer
    schedule: dict[str, Any] = {
        "scheduler": scheduler.scheduler(optimizer),
        "interval": scheduler.interval,
        "frequency": scheduler.frequency,
    }
    if scheduler.monitor is not None:
        schedule["monitor"] = scheduler.monitor
    return cast(OptimizerLRScheduler, {"optimizer": optimizer, "lr_scheduler": schedule})


def unstepped_plateau_metric(trainer: pl.Trainer) -> float | None:
    """The metric of a finished epoch that `ReduceLROnPlateau` has not seen yet; None when there is none.

    Lightning saves checkpoints at the end of an epoch before it steps this scheduler, and does not make up for it on
    resuming: a resumed run would miss one step. Kept in the checkpoint, the metric can be stepped on then.
    """
    finished: Any = trainer.fit_loop.epoch_progress.current
    for config in trainer.lr_scheduler_configs:
        if isinstance(config.scheduler, ReduceLROnPlateau) and config.interval == "epoch":
            steps_due = finished.processed // config.frequency
            metric = trainer.callback_metrics.get(str(config.monitor))
            if config.scheduler.last_epoch < steps_due and metric is not None:
                return float(metric)
    return None


def step_plateau(trainer: pl.Trainer, metric: float) -> None:
    """Let `ReduceLROnPlateau` see a metric that `unstepped_plateau_metric` kept."""
    for config in trainer.lr_scheduler_configs:
        if isinstance(config.scheduler, ReduceLROnPlateau):
            config.scheduler.step(metric)
