"""What a fork copies: reading an array nothing, writing to it all of it, reading Python objects their pages."""

from __future__ import annotations

import numpy as np
import pytest

from lungdet.bench.worker_memory import can_measure, copied_by_worker
from lungdet.errors import RunError

pytestmark = pytest.mark.skipif(not can_measure(), reason="needs fork and /proc/self/smaps_rollup")

N = 4_000_000


def test_reading_an_array_copies_next_to_nothing() -> None:
    values = np.ones(N)  # 32 MB
    assert copied_by_worker(lambda: float(values.sum())) < 2


def test_writing_to_it_copies_what_is_written() -> None:
    values = np.ones(N)

    def write() -> None:
        values[: N // 2] += 1

    assert 15 < copied_by_worker(write) < 20


def test_reading_objects_copies_the_pages_they_lie_on() -> None:
    values = [float(n) for n in range(N // 10)]  # 24 bytes each
    assert copied_by_worker(lambda: sum(values)) > 8


def test_a_worker_that_fails_is_told() -> None:
    with pytest.raises(RunError, match="worker"):
        copied_by_worker(lambda: 1 / 0)
