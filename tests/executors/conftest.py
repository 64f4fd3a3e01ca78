"""One cluster of two real worker processes for all tests here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("distributed")


def small_cluster(n_workers: int) -> Any:
    """Processes of one thread each, and a scheduler that knows nothing of lungdet."""
    from distributed import LocalCluster

    return LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=n_workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        silence_logs=False,
    )


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """The address of its scheduler."""
    with small_cluster(n_workers=2) as cluster:
        yield cluster.scheduler_address
