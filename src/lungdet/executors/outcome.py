"""What became of one job, and what every executor does: call a function for each job, somewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

R = TypeVar("R")


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """The end of one job.

    Attributes:
        name: of the job.
        value: what the work returned; None where it failed.
        failure: why there is no value, for a person; None where there is one.
    """

    name: str
    value: R | None
    failure: str | None = None


class Executor(Protocol):
    """Where work on scans is done. It is ready inside its `with` block."""

    def __enter__(self) -> Self:
        """Make ready: connect, compare versions."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of processes and connections; work under way is not waited for."""
        ...

    def run(
        self, work: Callable[..., R], jobs: Mapping[str, tuple[Any, ...]], *, shared: Path | None = None
    ) -> Iterator[Outcome[R]]:
        """Call `work(name, *arguments)` for each job, in any order.

        Args:
            work: a function that can be imported, or `Prepared`.
            jobs: name -> arguments, which can be pickled.
            shared: a folder that whoever does the work has to reach under this path, and may write to.

        Yields:
            The outcome of each job once, as they finish.
        """
        ...
