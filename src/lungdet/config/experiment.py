"""Problems that show only when the parts of an experiment are put beside each other: data, split, model, trainer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from torch import nn

from lungdet.config.build import build
from lungdet.config.launcher import process_problems
from lungdet.config.nodes import near_word
from lungdet.errors import LungdetError

# Endings of the names of Lightning's strategies that train in children of this process.
IN_CHILD_PROCESSES = ("_spawn", "_fork", "_notebook")


def experiment_problems(cfg: DictConfig, *, elsewhere: bool = False) -> Iterator[str]:
    """Problems of a train configuration whose nodes are all well-formed.

    Args:
        cfg: the configuration.
        elsewhere: it will run on other machines; devices and processes of this one say nothing about it.
    """
    problems: list[str] = []
    split = _build("split", cfg.split, problems)
    optim = _build("optim", cfg.optim, problems)
    scheduler = _build("scheduler", cfg.scheduler, problems)
    problems += _optimiser_problems(optim)
    datamodule = None if split is None else _build("data", cfg.data, problems, split=split)
    task = None if optim is None else _build("model", cfg.model, problems, optim=optim, scheduler=scheduler)
    if datamodule is not None and task is not None:
        problems += [f"data/model: {text}" for text in task.check_sample(datamodule.spec)]
    if datamodule is not None:
        problems += [f"data: {text}" for text in datamodule.store_problems()]
    if task is not None:
        problems += _monitor_problems(cfg, tuple(task.logged_names))
    if not elsewhere:
        problems += hardware_problems(cfg.trainer)
        problems += process_problems(cfg.trainer, batch_size=cfg.data.get("batch_size"))
    problems += _strategy_problems(cfg.trainer)
    problems += _evaluation_problems(cfg.evaluation)
    yield from problems


def _build(path: str, node: DictConfig, problems: list[str], **given: Any) -> Any:
    """The object of a node, or None with the reason appended, config path first."""
    try:
        return build(node, **given)
    except (LungdetError, ValueError, TypeError) as error:  # refused what the program passed to it
        problems.append(f"{path}: {error}")
        return None
    except InstantiationException as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        inner = next((line for line in str(error).splitlines() if line.startswith("full_key: ")), f"full_key: {path}")
        problems.append(f"{inner.removeprefix('full_key: ')}: {cause}")
        return None


def _optimiser_problems(optim: Any) -> Iterator[str]:
    if optim is None:
        return
    try:
        optim([nn.Parameter(torch.zeros(1))])
    except (ValueError, TypeError) as error:
        yield f"optim: {error}"


def _monitor_problems(cfg: DictConfig, logged: tuple[str, ...]) -> Iterator[str]:
    monitors = {f"callbacks.{name}.monitor": node.get("monitor") for name, node in cfg.callbacks.items() if node}
    monitors["scheduler.monitor"] = cfg.scheduler.get("monitor") if cfg.scheduler else None
    for path, monitor in monitors.items():
        if monitor is not None and monitor not in logged:
            yield f"{path}: '{monitor}' is never logged{near_word(str(monitor), logged)}"
    validated = cfg.trainer.get("check_val_every_n_epoch", 1)
    steps = cfg.scheduler.get("frequency", 1) if cfg.scheduler else 1
    on_validation = str(monitors["scheduler.monitor"]).startswith("val/")
    if on_validation and isinstance(validated, int) and validated > 1 and steps % validated:
        yield (
            f"scheduler.frequency={steps}: looks at {monitors['scheduler.monitor']} in epochs that are not validated "
            f"(trainer.check_val_every_n_epoch={validated}); type +scheduler.frequency={validated}"
        )


def hardware_problems(trainer: DictConfig) -> Iterator[str]:
    """Whether the devices that `trainer` asks for are on this machine."""
    accelerator, devices = str(trainer.get("accelerator", "auto")), trainer.get("devices", 1)
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator in ("gpu", "cuda") and n_gpus == 0:
        yield f"trainer.accelerator: '{accelerator}' asked for, but this machine has no CUDA device; use trainer=cpu"
    if isinstance(devices, int) and accelerator in ("auto", "gpu", "cuda") and n_gpus and devices > n_gpus:
        yield f"trainer.devices: {devices} asked for, this machine has {n_gpus} GPU(s); set trainer.devices={n_gpus}"
    if isinstance(devices, int) and devices < 1 and devices != -1:
        yield f"trainer.devices: must be at least 1, got {devices}"
    epochs = trainer.get("max_epochs")
    if isinstance(epochs, int) and epochs < 1 and epochs != -1:
        yield f"trainer.max_epochs: must be at least 1, got {epochs}"


def _strategy_problems(trainer: DictConfig) -> Iterator[str]:
    strategy = str(trainer.get("strategy"))
    if strategy.endswith(IN_CHILD_PROCESSES):
        yield (
            f"trainer.strategy: with '{strategy}' the predictions would stay in the processes that it starts; use "
            "trainer.strategy=ddp, which also works inside a sweep (each job gets a process of its own)"
        )


def _evaluation_problems(evaluation: DictConfig) -> Iterator[str]:
    """What would otherwise be refused only after the training."""
    recalls = list(evaluation.recalls)
    if not recalls or len(set(recalls)) < len(recalls) or not all(0 < recall <= 1 for recall in recalls):
        yield f"evaluation.recalls: {recalls}: give some of (0, 1], each once; type evaluation.recalls=[0.9,0.97]"
