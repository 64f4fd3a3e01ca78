"""Work done in a process of its own, so that its peak memory is its own and nothing is warm from what ran before it."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

_STATUS = Path("/proc/self/status")


def in_new_process(function: Callable[..., Result], *arguments: object) -> tuple[Result, float]:
    """Call a function in a spawned process.

    Args:
        function: one that can be imported; what it imports counts towards its memory.
        arguments: of the call; pickled, as its result is.

    Returns:
        What it returned, and the process's peak resident memory in MB (10^6 bytes).
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measured, function, arguments).result()


def peak_mb() -> float:
    """The most memory that this process has held, in MB; what it was forked from is not counted where Linux tells."""
    if _STATUS.is_file():
        fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        return int(fields["VmHWM"].split()[0]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _measured(function: Callable[..., Result], arguments: tuple[object, ...]) -> tuple[Result, float]:
    return function(*arguments), peak_mb()
