"""`executor=dask scheduler=tcp://host:8786`: the words of a command line that choose where scans are worked on."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import leave

if TYPE_CHECKING:
    from lungdet.executors.outcome import Executor

_SCHEDULER = re.compile(r"^\+{0,2}scheduler=")


def scheduler_words(arguments: list[str]) -> list[str]:
    """`scheduler=...` as the key that it means.

    Hydra would take it for the group of learning rate schedules, which these commands do not have.

    >>> scheduler_words(["executor=dask", "scheduler=tcp://host:8786"])
    ['executor=dask', 'executor.scheduler=tcp://host:8786']
    """
    if any(_SCHEDULER.match(word) for word in arguments) and "executor=dask" not in arguments:
        leave(["scheduler: only a Dask cluster has one; add executor=dask"])
    return [_SCHEDULER.sub("executor.scheduler=", word) for word in arguments]


def make_executor(cfg: DictConfig) -> Executor:
    """The executor of a command's configuration, not opened yet.

    Raises:
        ConfigError: a number out of range.
    """
    from lungdet.config.build import build

    # In two steps, so that its own error reaches the reader without Hydra's words around it.
    executor: Executor = build(OmegaConf.create({**cfg.executor, "_partial_": True}))()
    return executor
