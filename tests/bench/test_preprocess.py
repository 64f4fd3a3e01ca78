"""The preprocessing benchmark: script, one process and two on the same scans; a failing scan ends it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lungdet.bench import preprocess as module
from lungdet.bench.drawn.scans import Collection, scans_for
from lungdet.errors import StoreError


@pytest.mark.slow
def test_measures_script_and_processes(tmp_path: Path, shrink: Callable[[object], None]) -> None:
    shrink(module)
    lines = module.measure(quick=True, folder=tmp_path)
    wall, cpu = "preprocess, 40 x 70 x 66", "preprocess, 40 x 70 x 66, CPU time"
    assert [(line.section, line.name) for line in lines] == [
        (wall, module.SCRIPT),
        (wall, module.TWO),
        (wall, module.ONE),
        (cpu, module.SCRIPT),
        (cpu, module.ONE),
    ]
    assert all(0 < line.low <= line.high for line in lines)
    assert all(line.peak_mb is not None and line.peak_mb > 30 for line in lines[:3])


@pytest.mark.parametrize("work", [module.store_one, module.script_one])
def test_one_scan_is_stored_and_the_memory_before_is_told(
    work: Callable[[Path, Path], float], tmp_path: Path, tiny: Collection
) -> None:
    path = next(iter(scans_for(tmp_path, tiny).values()))
    assert work(path, tmp_path / "out") > 30
    assert list((tmp_path / "out").rglob("hu/zarr.json"))


def test_a_scan_that_fails_ends_it(
    tmp_path: Path, tiny: Collection, shrink: Callable[[object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(module)
    for path in scans_for(tmp_path, tiny).values():
        path.with_suffix(".raw").write_bytes(b"")
    monkeypatch.setattr(module, "simple_preprocess", lambda *_: None)
    with pytest.raises(StoreError, match="the benchmark's own scans failed"):
        module.measure(quick=True, folder=tmp_path)
