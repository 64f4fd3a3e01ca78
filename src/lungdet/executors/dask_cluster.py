"""`executor=dask`: every job is a task of a Dask cluster; a worker that dies costs its job another try."""

from __future__ import annotations

import logging
import math
import os
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lungdet.errors import ClusterError, ConfigError
from lungdet.executors.dask_connection import GONE, connected, n_workers, probed
from lungdet.executors.dask_worker import Probe, do_job
from lungdet.executors.outcome import Outcome

if TYPE_CHECKING:
    from distributed import Client, Future, KilledWorker

R = TypeVar("R")

log = logging.getLogger(__name__)

DIED = (
    "its process died on {n} workers, one after the other, with no other job beside it: out of memory (start workers "
    "with a larger --memory-limit), or see their logs"
)

_LOOK_S = 2.0
"""How often workers that came or went are counted."""
_TOLD_S = 60.0
"""Workers that died are usually back by then."""
_OWN_PATIENCE_S = 300.0
"""Without any worker: Dask does not start those again that take too long to start, as on a machine under load."""


class DaskExecutor:
    """A Dask cluster.

    Args:
        scheduler: address, such as tcp://host:8786, or the file that `dask scheduler --scheduler-file` writes; None
            starts a cluster of this machine.
        workers: processes of that cluster, one thread each; None for one a core. A scheduler's workers are taken as
            they are.
        timeout_s: how long to wait for the scheduler's first answer.
        patience_s: how long to go on when there is no worker any more, or none yet; None for five minutes with a
            cluster of this machine, and for ever with a scheduler, whose workers may be waiting in a queue.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self,
        scheduler: str | None = None,
        workers: int | None = None,
        timeout_s: float = 5.0,
        patience_s: float | None = None,
    ) -> None:
        problems = []
        if workers is not None and workers < 1:
            problems.append(f"executor.workers={workers} must be at least 1, or null for one for each core")
        if not 0 < timeout_s < float("inf"):
            problems.append(f"executor.timeout_s={timeout_s} must be a number of seconds above 0")
        if patience_s is not None and not patience_s > 0:
            problems.append(f"executor.patience_s={patience_s} must be a number of seconds above 0, or null")
        if problems:
            raise ConfigError(problems)
        self.scheduler, self.workers, self.timeout_s = scheduler, workers or os.cpu_count() or 1, timeout_s
        self._patience_s = (_OWN_PATIENCE_S if scheduler is None else math.inf) if patience_s is None else patience_s
        self._stack = ExitStack()
        self._client: Client | None = None

    def __enter__(self) -> Self:
        opening = connected(self.scheduler, workers=self.workers, timeout_s=self.timeout_s)
        self._client = self._stack.enter_context(opening)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client = None
        self._stack.close()

    def run(
        self, work: Callable[..., R], jobs: Mapping[str, tuple[Any, ...]], *, shared: Path | None = None
    ) -> Iterator[Outcome[R]]:
        """See `Executor.run`.

        As many jobs are handed over as there are workers, so that a worker that dies usually takes one job with it.
        While workers start again two jobs can share one, and a job can share the fate of another: Dask counts a death
        against both. So a job that Dask gives up is tried once more at the end, alone, and only that counts. When
        this process is interrupted, jobs that have begun are finished by their workers, others never begin.

        Raises:
            ClusterError: workers do not reach `shared`, or are all gone, or the scheduler went away.
        """
        assert self._client is not None, "inside its with block"
        if not jobs:
            return
        with probed(self._client, shared) as probe:
            yield from _answers(self._client, work, jobs, probe, patience_s=self._patience_s)


def _answers(
    client: Client,
    work: Callable[..., R],
    jobs: Mapping[str, tuple[Any, ...]],
    probe: Probe | None,
    *,
    patience_s: float,
) -> Iterator[Outcome[R]]:
    waiting, under_way, suspects = deque(jobs), dict[str, Any](), set[str]()
    finished: queue.SimpleQueue[tuple[str, Outcome[R] | KilledWorker | None]] = queue.SimpleQueue()
    workers = _Workers(client, patience_s=patience_s)
    try:
        while waiting or under_way:
            # With nobody there one job waits, which tells a cluster that grows by demand that it is wanted. Suspects
            # stand at the end of the queue; each is alone.
            while waiting and len(under_way) < (1 if waiting[0] in suspects else max(workers.count, 1)):
                name = waiting.popleft()
                key = f"lungdet-{uuid.uuid4().hex}"
                under_way[name] = client.submit(do_job, work, name, jobs[name], probe, key=key, pure=False)
                # Fetched at once, in a thread of the client: a value that still lies in a worker when the next job
                # kills it would be computed again.
                under_way[name].add_done_callback(lambda done, name=name: finished.put((name, _outcome(name, done))))
            with suppress(queue.Empty):
                name, outcome = finished.get(timeout=_LOOK_S)
                del under_way[name]
                if outcome is None:
                    raise ClusterError(GONE)
                if isinstance(outcome, Outcome):
                    yield outcome
                elif name in suspects:
                    yield Outcome(name, None, DIED.format(n=outcome.allowed_failures + 1))
                else:
                    suspects.add(name)
                    waiting.append(name)
            workers.look()
    finally:
        if under_way:
            with suppress(Exception):  # a scheduler that went away has nothing to cancel
                client.cancel(list(under_way.values()), force=True)  # type: ignore[no-untyped-call]


class _Workers:
    """How many workers there are, counted now and then; somebody may kill all of them, or none be there yet."""

    def __init__(self, client: Client, *, patience_s: float) -> None:
        self._client, self._patience_s = client, patience_s
        self.count = n_workers(client)
        self._looked = self._manned = time.monotonic()
        self._is_told = False

    def look(self) -> None:
        """Count them, if that was not done just now.

        Raises:
            ClusterError: there have been none for too long, or the scheduler does not answer.
        """
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self.count, self._looked = n_workers(self._client), time.monotonic()
        if self.count:
            self._manned, self._is_told = self._looked, False
            return
        alone_s = self._looked - self._manned
        if alone_s > self._patience_s:
            raise ClusterError(
                f"executor: the cluster has had no workers for {alone_s:.0f} s (executor.patience_s); what is finished "
                "is kept: start workers, and type the same again"
            )
        if alone_s > _TOLD_S and not self._is_told:
            log.warning("executor: the cluster has had no workers for %.0f s; the work waits for some", alone_s)
            self._is_told = True


def _outcome(name: str, future: Future[Outcome[R]]) -> Outcome[R] | KilledWorker | None:
    """What a future that is done holds; None when nobody knows any more."""
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        return error
    except CancelledError:
        return None
    except Exception as error:  # such as work that a worker cannot import
        return Outcome(name, None, f"{type(error).__name__}: {error}")
