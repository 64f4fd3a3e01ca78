"""Peak memory of a process of its own, against an array whose size is known."""

from __future__ import annotations

import os

import numpy as np
import pytest

from lungdet.bench.processes import in_new_process, peak_mb


def fill(megabytes: int) -> int:
    """Touch so much memory, and forget it again."""
    np.ones(megabytes * 1_000_000, np.uint8)
    return os.getpid()


def fail() -> None:
    """Raise."""
    raise ValueError("too small")


def test_peak_memory_is_of_the_call_alone() -> None:
    held = np.ones(300_000_000, np.uint8)
    pid, small = in_new_process(fill, 1)
    _, large = in_new_process(fill, 201)
    assert pid != os.getpid()
    assert large - small == pytest.approx(200, abs=15)
    assert peak_mb() > held.nbytes / 1e6 > small, "memory of this process is not counted"


def test_errors_arrive() -> None:
    with pytest.raises(ValueError, match="too small"):
        in_new_process(fail)
