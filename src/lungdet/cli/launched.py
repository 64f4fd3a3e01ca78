"""What the processes of one training, started on several nodes, agree on: the run directory, and that all of them can.

They meet where torch.distributed meets later, at the first process's address and port.
"""

from __future__ import annotations

import datetime
import functools
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lungdet.errors import ConfigError, LungdetError, RunError

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    from lungdet.config.launcher import LaunchedProcess

log = logging.getLogger(__name__)

#: How long processes that start together may be apart: nodes of a cluster import from one slow file system.
PATIENCE = datetime.timedelta(minutes=10)
_HEARING_S = 2.0

_KEY = "hydra.run.dir="
_RUN = "${paths.runs}/%s_${hydra.runtime.choices.data}_${hydra.runtime.choices.model}"
# What the first process alone writes: Hydra's copy of the configuration, log.txt.
_SILENT = (
    "hydra.output_subdir=null",
    "hydra.job_logging.root.handlers=[console]",
    "~hydra.job_logging.handlers.file",
)


def agree_on_run_directory(arguments: list[str], *, me: LaunchedProcess, choose: Callable[..., list[str]]) -> list[str]:
    """The command line of this process, with one run directory for all of them.

    Left alone, each would name its directory by the second in which it started.

    Args:
        arguments: the command line without the program.
        me: which process this is.
        choose: what else decides about the directory; asked in the first process only.

    Returns:
        The same, with `hydra.run.dir=` where it was not named; all but the first process write nothing of Hydra's.

    Raises:
        ConfigError: a multirun.
        RunError: the first process cannot be reached.
    """
    if {"-m", "--multirun"} & set(arguments):
        raise ConfigError(
            [
                f"-m: {me.launcher} started several processes for one training, and a sweep is many; start it alone, "
                "with hydra/launcher=submitit_slurm, and every run becomes a job of its own (docs/clusters.md)"
            ]
        )
    if any(word.partition("=")[0] in ("--cfg", "-c", "--info", "-i", "--help", "-h") for word in arguments):
        return arguments
    if _named(arguments) is None:
        word = _choose(arguments, me=me, choose=choose) if me.rank == 0 else _ask(me, "run_directory")
        if not word.startswith(_KEY):
            raise RunError(f"the first process cannot train: {word}")
        arguments = [*arguments, word]
    return arguments if me.rank == 0 else [*arguments, *_SILENT]


def keep_no_log_file() -> None:
    """Say everything on the console only: the log file is the first process's.

    Inside a multirun Hydra has opened it in every process by now.
    """
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()


@contextmanager
def all_or_none(me: LaunchedProcess | None, *, n_processes: int) -> Iterator[None]:
    """Leave the block when every process has come to its end, or raise in all of them what stopped one.

    A node without the store would end at once, and leave the others waiting for it until they give up, half an hour
    later.

    Args:
        me: which process this is; None for one that was started alone.
        n_processes: how many take part.

    Raises:
        RunError: another process cannot go on; with its message.
    """
    if me is None:
        yield
        return
    try:
        yield
    except LungdetError as error:
        _store(me).set("verdict", f"process {me.rank} of {n_processes}: {error}")
        _stay_for_the_others(me)
        raise
    # The last to be well says that all are; a problem has been said instead by then, if there is one.
    if _store(me).add("well", 1) == n_processes:
        _store(me).set("verdict", "")
    verdict = _ask(me, "verdict")
    if verdict:
        _stay_for_the_others(me)
        raise RunError(f"another process of this training cannot go on, {verdict}")


def wait_for_run_directory(me: LaunchedProcess | None, file: Path, *, seconds: float = 60) -> None:
    """Refuse a run directory that the other nodes do not see, before hours are spent: all load checkpoints from it.

    Args:
        me: which process this is; None for one that was started alone.
        file: what the first process has written into it.
        seconds: how long a network file system may take to show it.

    Raises:
        RunError: it never appears.
    """
    if me is None:
        return
    if me.rank == 0:
        _store(me).set("written", str(file))
        return
    _ask(me, "written")
    until = time.monotonic() + seconds
    while not file.is_file():
        if time.monotonic() > until:
            raise RunError(
                f"{file.parent}: the first process has written this run directory, and process {me.rank} does not see "
                "it; put it on a file system that all nodes share: paths.runs=/shared/runs"
            )
        time.sleep(0.2)


@contextmanager
def others_may_end() -> Iterator[None]:
    """Turn the loss of another process into one sentence; what ended it stands in its own output.

    Raises:
        RunError: this process could not reach another one any more.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, LungdetError) or not _is_lost_contact(error):
            raise
        log.debug("lost contact", exc_info=True)
        raise RunError(
            f"another process of this training has ended, so this one ends too; its own message says why "
            f"({str(error).splitlines()[0][:200]})"
        ) from error


def _is_lost_contact(error: RuntimeError) -> bool:
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return False
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def _choose(arguments: list[str], *, me: LaunchedProcess, choose: Callable[..., list[str]]) -> str:
    """The first process's answer for all: `hydra.run.dir=...`."""
    try:
        word = _named(choose(arguments))
    except LungdetError as error:
        _store(me).set("run_directory", str(error))
        _stay_for_the_others(me)
        raise
    word = word or f"{_KEY}{_RUN % (me.job or time.strftime('%Y-%m-%d_%H-%M-%S'))}"
    _store(me).set("run_directory", word)
    return word


def _stay_for_the_others(me: LaunchedProcess) -> None:
    """What was said goes with the process that keeps it: give the others time to hear it."""
    if me.rank == 0 and not me.served:
        time.sleep(_HEARING_S)


def _named(arguments: list[str]) -> str | None:
    """The word that names the run directory."""
    words = [word for word in arguments if word.startswith(_KEY)]
    return words[-1] if words else None


def _ask(me: LaunchedProcess, key: str) -> str:
    """What some process has said or will say."""
    import torch.distributed as dist

    try:
        answer: bytes = _store(me).get(key)
    except dist.DistError as error:
        raise RunError(
            f"process {me.rank}: no answer from the others within {PATIENCE.total_seconds() / 60:g} minutes; they meet "
            f"at {me.address}:{me.port}: did all of them start?"
        ) from error
    return answer.decode()


@functools.cache
def _store(me: LaunchedProcess) -> TCPStore:
    """Where the processes meet; kept, because in the first process torch.distributed will share it."""
    import torch.distributed as dist

    try:
        return dist.TCPStore(  # type: ignore[attr-defined]
            me.address,
            me.port,
            is_master=me.rank == 0 and not me.served,
            timeout=PATIENCE,
            wait_for_workers=False,
            multi_tenant=True,
        )
    except dist.DistError as error:
        raise RunError(
            f"process {me.rank}: the first process is not reached at {me.address}:{me.port}: "
            f"{str(error).splitlines()[0]}"
        ) from error
