"""One cluster of two real worker processes for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.surroundings import environment_kept

pytest.importorskip("distributed")


@contextmanager
def small_cluster(n_workers: int) -> Iterator[Any]:
    """Processes of one thread each, and a scheduler that knows nothing of lungdet."""
    from distributed import LocalCluster

    with (
        environment_kept(),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            silence_logs=False,
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of its scheduler. It ends with the file: tests of others would see its threads."""
    with small_cluster(n_workers=2) as cluster:
        yield cluster.scheduler_address
