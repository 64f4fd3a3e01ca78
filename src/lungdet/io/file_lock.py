"""A file that one process at a time may hold; the lock ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lungdet.errors import StoreError

log = logging.getLogger(__name__)


@contextmanager
def sole_holder(path: Path, *, busy: str, waits: bool = False) -> Iterator[None]:
    """Hold the lock while the block runs.

    Args:
        path: of the lock file; it is made when missing and stays.
        busy: what to say when another process holds it.
        waits: until that process lets go, instead of an error.

    Raises:
        StoreError: another process holds it, and `waits` is not set; or this process is being started by one that may
            hold it, which happens in scripts without a main guard and would wait for ever.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not waits:
                raise StoreError(busy) from error
            if getattr(multiprocessing.current_process(), "_inheriting", False):
                raise StoreError(
                    f"{path} is held while this process is still being started: put what your script does below "
                    "`if __name__ == '__main__':`, for the processes that it starts run the rest of it"
                ) from error
            log.info("%s", busy)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # some network file systems have no locks
            log.debug("no lock on %s: %s", path, error)
        yield
