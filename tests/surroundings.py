"""What a test or a fixture must leave as it found it: the environment of the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def environment_kept() -> Iterator[None]:
    """Put back what the block removed or changed, and remove what it added.

    Libraries write into it: with the MASTER_ADDR of one test, Lightning lets the trainings of all later ones wait.
    """
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
