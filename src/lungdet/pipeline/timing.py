"""Seconds per stage, as they stand in the results."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_log = logging.getLogger(__name__)


class StageClock:
    """Adds up wall-clock seconds under the names of stages, in the order of their first use.

    Example:
        >>> clock = StageClock()
        >>> with clock.stage("classify"):
        ...     pass
        >>> list(clock.seconds)
        ['classify']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; the time counts even when the block raises."""
        start = time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + taken
            _log.debug("%s: %.2f s", name, taken)


def describe_seconds(seconds: Mapping[str, float]) -> str:
    """The total and every stage, for a person.

    Example:
        >>> describe_seconds({"lungs": 0.43, "segment": 2.58, "suppress": 0.001})
        '3.0 s: lungs 0.4, segment 2.6, suppress 0.0'
    """
    stages = ", ".join(f"{stage} {taken:.1f}" for stage, taken in seconds.items())
    return f"{sum(seconds.values()):.1f} s" + (f": {stages}" if stages else "")
