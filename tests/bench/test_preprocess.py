"""The preprocessing benchmark: script, one process and two on the same scans; a failing scan ends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lungdet.bench import preprocess as module
from lungdet.bench.scans import Collection, scans_for
from lungdet.errors import StoreError


def test_measures_script_and_processes(tmp_path: Path, shrink: Callable[[object], None]) -> None:
    shrink(module)
    lines = module.measure(quick=True, folder=tmp_path)
    assert [line.name for line in lines] == [module.SCRIPT, "lungdet, 2 processes", "lungdet, 1 process"]
    assert {line.section for line in lines} == {"preprocess, 40 x 70 x 66"}
    assert all(0 < line.low <= line.high for line in lines)


def test_a_scan_that_fails_ends_it(
    tmp_path: Path, tiny: Collection, shrink: Callable[[object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(module)
    for path in scans_for(tmp_path, tiny).values():
        path.with_suffix(".raw").write_bytes(b"")
    monkeypatch.setattr(module, "simple_preprocess", lambda *_: None)
    with pytest.raises(StoreError, match="the benchmark's own scans failed"):
        module.measure(quick=True, folder=tmp_path)
