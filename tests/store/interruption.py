"""A process that is killed at its n-th change of a folder: nothing after that happens, no clean-up either."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

CHANGES = ("unlink", "rmdir", "rename", "replace")


class Killed(BaseException):
    """Instead of SIGKILL."""


@contextmanager
def killed_at(change: int) -> Iterator[list[bool]]:
    """Let so many deletions and renamings happen in the block, and then none.

    Yields:
        Empty, and True in it once the block was killed.
    """
    killed: list[bool] = []
    done = 0

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            done += 1
            if done > change:
                killed.append(True)
                raise Killed
            return function(*arguments, **options)

        return call

    originals = {name: getattr(os, name) for name in CHANGES}
    for name, function in originals.items():
        setattr(os, name, counted(function))
    try:
        yield killed
    except Killed:
        pass
    finally:
        for name, function in originals.items():
            setattr(os, name, function)
