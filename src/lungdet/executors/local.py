"""The default: work in this process, or in several processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from lungdet.errors import ConfigError
from lungdet.executors.attempt import attempt
from lungdet.executors.outcome import Outcome
from lungdet.store.processes import in_processes

R = TypeVar("R")


class LocalExecutor:
    """This machine.

    Args:
        workers: processes, one thread each; 1 works in this process with all its threads, None and 0 take one for each
            core.

    Raises:
        ConfigError: less than none.
    """

    def __init__(self, workers: int | None = 1) -> None:
        if workers is not None and workers < 0:
            raise ConfigError([f"executor.workers={workers} must be at least 1, or null for one for each core"])
        self.workers = workers or os.cpu_count() or 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Processes end with the last job."""

    def run(
        self, work: Callable[..., R], jobs: Mapping[str, tuple[Any, ...]], *, shared: Path | None = None
    ) -> Iterator[Outcome[R]]:
        """See `Executor.run`; what the work raises in this process is raised here as it is."""
        workers = min(self.workers, len(jobs))
        if workers <= 1:
            for name, arguments in jobs.items():
                yield Outcome(name, work(name, *arguments))
            return
        packed: dict[str, tuple[Any, ...]] = {name: (work, arguments) for name, arguments in jobs.items()}
        for name, answer in in_processes(_in_process, packed, workers=workers):
            yield Outcome(name, None, answer) if isinstance(answer, str) else cast("Outcome[R]", answer)


def _in_process(name: str, work: Callable[..., R], arguments: tuple[Any, ...]) -> Outcome[R]:
    return attempt(work, name, arguments, threads=1)
