"""One job in a process of its own or on a cluster: so many threads, and whatever happens, an outcome."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from lungdet.errors import LungdetError
from lungdet.executors.outcome import Outcome
from lungdet.executors.prepared import Prepared

R = TypeVar("R")

log = logging.getLogger(__name__)


def attempt(work: Callable[..., R], name: str, arguments: tuple[Any, ...], *, threads: int) -> Outcome[R]:
    """Call the work; what goes wrong with one job must not cost the others theirs.

    Args:
        work: see `Executor.run`.
        name: of the job.
        arguments: of the work.
        threads: for each library.
    """
    try:
        if isinstance(work, Prepared):
            work.prepare()
        limit_threads(threads)
        return Outcome(name, work(name, *arguments))
    except LungdetError as error:
        return Outcome(name, None, str(error))
    except MemoryError:
        return Outcome(name, None, "not enough memory")
    except Exception as error:
        log.exception("%s", name)
        return Outcome(name, None, f"{type(error).__name__}: {error}")


def limit_threads(n: int) -> None:
    """Let OpenCV, ITK and PyTorch use `n` threads in what this thread does from now on.

    Results hardly depend on it: each batch of a scan is computed by one thread (docs/dask.md).
    """
    import cv2

    cv2.setNumThreads(n)
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(n)
    if "torch" in sys.modules:  # preprocessing does without, and importing it takes seconds
        sys.modules["torch"].set_num_threads(n)
