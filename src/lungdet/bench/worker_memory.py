"""What a forked worker does not share any more: memory that it had to copy because somebody wrote to it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from lungdet.errors import RunError

_MEMORY = Path("/proc/self/smaps_rollup")


def can_measure() -> bool:
    """Whether this system forks, and tells how much of a process's memory is its own."""
    return _MEMORY.is_file() and "fork" in multiprocessing.get_all_start_methods()


def copied_by_worker(work: Callable[[], object]) -> float:
    """Memory of its own that a fork of this process gains by doing the work, in MB.

    Reading a Python object writes to its reference count, and the kernel then copies the page that it lies on; an array
    is one object, whatever it holds.

    Raises:
        RunError: the work failed in the worker.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, sender))
    process.start()
    sender.close()  # or nobody would notice that the worker died
    try:
        copied: float = receiver.recv()
    except EOFError as error:
        raise RunError("the worker whose memory was to be measured has failed; its error stands above") from error
    finally:
        process.join()
    return copied


def _work(work: Callable[[], object], sender: Connection) -> None:
    before = _private_mb()
    result = work()
    sender.send(_private_mb() - before)
    del result


def _private_mb() -> float:
    fields = dict(line.split(":", 1) for line in _MEMORY.read_text().splitlines()[1:])
    return sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty")) * 1024 / 1e6
