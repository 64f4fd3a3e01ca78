"""One training in a process of its own: a job of a sweep that needs several devices, a trial of a search."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lungdet.errors import RunError

_TRAIN = Path(__file__).parent / "train.py"

# Overrides of Hydra itself that belong to the sweep, not to one of its jobs.
_OF_THE_SWEEP = ("hydra.sweep", "hydra/sweeper", "hydra.launcher", "hydra/launcher", "hydra.mode", "hydra.run.dir")


def start_training(overrides: Sequence[str], run_directory: Path, *, cwd: Path) -> subprocess.Popen[bytes]:
    """Start `lungdet train` in a new process; its output goes where this process's goes.

    Args:
        overrides: what to type behind `lungdet train`.
        run_directory: where the run goes.
        cwd: folder that relative paths are meant from.
    """
    command = [sys.executable, str(_TRAIN), *overrides, f"hydra.run.dir={quoted(run_directory)}"]
    return subprocess.Popen(command, cwd=cwd)


def train_as_job(overrides: Sequence[str], hydra_overrides: Sequence[str], run_directory: Path, *, cwd: Path) -> None:
    """Run one job of a multirun in a process of its own and wait for it.

    Lightning starts the other processes of a training by repeating the command line. Inside a multirun that line would
    repeat the whole sweep; a process of its own has the line of its job.

    Args:
        overrides: of the job.
        hydra_overrides: of Hydra itself in the multirun; those about the sweep are left out.
        run_directory: of the job.
        cwd: folder that relative paths are meant from.

    Raises:
        RunError: it ended with another exit code than 0; its own message is above.
    """
    kept = [word for word in hydra_overrides if not word.lstrip("+~").startswith(_OF_THE_SWEEP)]
    process = start_training([*overrides, *kept], run_directory, cwd=cwd)
    try:
        code = process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if code:
        raise RunError(f"{run_directory}: the training ended with exit code {code}; its message stands above")


def quoted(path: Path) -> str:
    """A path as Hydra's override grammar takes it, whatever characters it has."""
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
