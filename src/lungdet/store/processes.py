"""Work on scans in several processes of one thread each; one that dies costs the scan that killed it, nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

R = TypeVar("R")

DIED = (
    "its process died: out of memory (type fewer workers=...), or a script that calls this outside of "
    "`if __name__ == '__main__':`"
)

Outcome = tuple[str, str | None]
"""The name of a job whose work returns why it failed, and that."""


def in_processes(
    work: Callable[..., R], jobs: Mapping[str, tuple[Any, ...]], *, workers: int
) -> Iterator[tuple[str, R | str]]:
    """Call `work(name, *arguments)` for each job, in any order.

    When a process dies, nobody knows which of the jobs under way killed it: each of them is tried again in a process of
    its own, and what dies again is the culprit.

    Args:
        work: a function that can be imported.
        jobs: name -> arguments, which can be pickled.
        workers: processes.

    Yields:
        The name of each job and what `work` returned, or why it did not, as they finish.
    """
    waiting = deque(jobs)
    while waiting:
        suspects = yield from _until_one_dies(work, jobs, waiting, workers)
        for name in suspects:
            if (yield from _until_one_dies(work, jobs, deque([name]), 1)):
                yield name, DIED


def _until_one_dies(
    work: Callable[..., R], jobs: Mapping[str, tuple[Any, ...]], waiting: deque[str], workers: int
) -> Generator[tuple[str, R | str], None, list[str]]:
    """Take names from `waiting`; the names that were under way when a process died, empty when none did."""
    under_way: dict[Future[R | _Raised], str] = {}
    # Spawned, not forked: numpy, OpenCV and zarr all start threads that do not live through a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(waiting)), mp_context=context, initializer=_begin)
    try:
        alive = True
        while under_way or (waiting and alive):
            # One more than there are processes, so that none waits for this one.
            while alive and waiting and len(under_way) <= workers:
                try:
                    under_way[pool.submit(_call, work, waiting[0], jobs[waiting[0]])] = waiting[0]
                except BrokenProcessPool:
                    alive = False
                else:
                    waiting.popleft()
            finished = wait(under_way, return_when=FIRST_COMPLETED).done if under_way else set()
            for job in finished:
                error = job.exception()
                if isinstance(error, BrokenProcessPool):
                    # All that were under way end so; what finished before keeps its result.
                    wait(under_way)
                    alive = False
                    break
                yield under_way.pop(job), _told(job.result() if error is None else _Raised(error))
            if not alive:
                for job in [job for job in under_way if job.exception() is None]:
                    yield under_way.pop(job), _told(job.result())
                return list(under_way.values())
    finally:
        # After Ctrl-C the scans under way are finished: seconds, and nothing is lost.
        pool.shutdown(cancel_futures=True)
    return []


class _Raised:
    """What the work raised, as text: an exception that cannot be unpickled would look like a process that died."""

    def __init__(self, error: BaseException) -> None:
        self.text = f"{type(error).__name__}: {error}"


def _call(work: Callable[..., R], name: str, arguments: tuple[Any, ...]) -> R | _Raised:
    try:
        return work(name, *arguments)
    except Exception as error:
        return _Raised(error)


def _told(answer: R | _Raised) -> R | str:
    return answer.text if isinstance(answer, _Raised) else answer


def _begin() -> None:
    """In each process: one thread per library, Ctrl-C is the parent's business, no life without the parent."""
    import cv2

    cv2.setNumThreads(1)
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that was killed cannot tell its processes to stop; without this they wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
