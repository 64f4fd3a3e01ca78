"""How long work of a DataModule is shown: a command line puts its progress bar in, a program without one shows none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[..., None]


@contextmanager
def silent(title: str, *, total: int, items: str = "scans") -> Iterator[Advance]:
    """The progress of a program without a terminal."""
    yield lambda *_: None
