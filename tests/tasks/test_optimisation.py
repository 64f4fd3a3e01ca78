from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch.nn import Parameter
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from lungdet.errors import ConfigError
from lungdet.tasks.optimisation import (
    SchedulerSpec,
    configure_optimisation,
    step_plateau,
    unstepped_plateau_metric,
)


@pytest.fixture
def parameters() -> list[Parameter]:
    frozen = Parameter(torch.zeros(2), requires_grad=False)
    return [Parameter(torch.zeros(3)), frozen]


def test_the_optimiser_gets_the_parameters_that_train(parameters: list[Parameter]) -> None:
    for scheduler in (None, SchedulerSpec()):
        optimizer = configure_optimisation(iter(parameters), optim=partial(SGD, lr=0.1), scheduler=scheduler)
        assert isinstance(optimizer, SGD)
        assert optimizer.param_groups[0]["params"] == [parameters[0]]
        assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_schedule_is_tied_to_the_optimiser(parameters: list[Parameter]) -> None:
    spec = SchedulerSpec(scheduler=partial(StepLR, step_size=1, gamma=0.5), interval="step", frequency=3)
    made = cast(dict[str, Any], configure_optimisation(parameters, optim=partial(AdamW, lr=1.0), scheduler=spec))
    schedule = made["lr_scheduler"]
    assert schedule["scheduler"].optimizer is made["optimizer"]
    assert (schedule["interval"], schedule["frequency"]) == ("step", 3)
    assert "monitor" not in schedule


def test_plateau_carries_its_monitor(parameters: list[Parameter]) -> None:
    spec = SchedulerSpec(scheduler=partial(ReduceLROnPlateau, mode="max"), monitor="val/auroc")
    made = cast(dict[str, Any], configure_optimisation(parameters, optim=partial(SGD, lr=0.1), scheduler=spec))
    assert made["lr_scheduler"]["monitor"] == "val/auroc"
    assert isinstance(made["lr_scheduler"]["scheduler"], ReduceLROnPlateau)


def test_a_task_without_optimiser_says_what_to_add(parameters: list[Parameter]) -> None:
    with pytest.raises(ConfigError, match=r"training needs an optimiser; add optim=adamw or optim=sgd"):
        configure_optimisation(parameters, optim=None, scheduler=None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"scheduler": partial(ReduceLROnPlateau)},
            "ReduceLROnPlateau needs a logged name; set",
        ),
        ({"scheduler": partial(StepLR, step_size=1), "monitor": "val/loss"}, "only ReduceLROnPlateau watches one"),
        ({"monitor": "val/loss"}, r"got 'val/loss'; set it to null"),
        ({"interval": "batch"}, "scheduler.interval: must be 'epoch' or 'step', got 'batch'"),
        ({"frequency": 0}, "scheduler.frequency: must be at least 1, got 0"),
    ],
)
def test_wrong_schedules_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SchedulerSpec(**arguments)


def test_all_problems_of_a_schedule_are_named_together() -> None:
    with pytest.raises(ConfigError) as caught:
        SchedulerSpec(interval=cast(Any, "batch"), frequency=0)
    assert len(caught.value.problems) == 2


def at_the_end_of_epoch(
    processed: int, scheduler: Any, *, frequency: int = 1, interval: str = "epoch", metric: float | None = 0.7
) -> Any:
    """What the functions below read of a trainer."""
    config = SimpleNamespace(scheduler=scheduler, monitor="val/auroc", interval=interval, frequency=frequency)
    return SimpleNamespace(
        lr_scheduler_configs=[config],
        callback_metrics={} if metric is None else {"val/auroc": torch.tensor(metric)},
        fit_loop=SimpleNamespace(epoch_progress=SimpleNamespace(current=SimpleNamespace(processed=processed))),
    )


def test_a_checkpoint_before_the_plateau_step_keeps_the_metric(parameters: list[Parameter]) -> None:
    optimizer = SGD(parameters[:1], lr=1.0)
    plateau = ReduceLROnPlateau(optimizer, mode="max", patience=0, factor=0.5)
    plateau.step(0.9)  # epoch 0
    trainer = at_the_end_of_epoch(2, plateau)  # epoch 1 is finished, its step is due
    metric = unstepped_plateau_metric(trainer)
    assert metric is not None
    assert metric == pytest.approx(0.7)
    step_plateau(trainer, metric)
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert unstepped_plateau_metric(trainer) is None


@pytest.mark.parametrize(
    ("processed", "given"),
    [(1, {"frequency": 2}), (1, {"interval": "step"}), (1, {"metric": None}), (0, {})],
    ids=["not this epoch", "steps of batches", "never validated", "mid-epoch"],
)
def test_no_plateau_step_is_due(parameters: list[Parameter], processed: int, given: dict[str, Any]) -> None:
    plateau = ReduceLROnPlateau(SGD(parameters[:1], lr=1.0))
    assert unstepped_plateau_metric(at_the_end_of_epoch(processed, plateau, **given)) is None


def test_other_schedules_are_stepped_by_lightning_in_time(parameters: list[Parameter]) -> None:
    optimizer = SGD(parameters[:1], lr=1.0)
    trainer = at_the_end_of_epoch(3, StepLR(optimizer, step_size=1))
    assert unstepped_plateau_metric(trainer) is None
    step_plateau(trainer, 0.5)
    assert optimizer.param_groups[0]["lr"] == 1.0
