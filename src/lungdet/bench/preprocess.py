"""Preprocessing to 1 mm with a lung mask: this package with one and two processes against a straightforward script."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from lungdet.bench.baselines.simple_preprocess import simple_preprocess
from lungdet.bench.drawn.scans import Collection, scans_for
from lungdet.bench.processes import in_new_process, peak_mb
from lungdet.bench.rows import Row, interleave, rows
from lungdet.errors import StoreError
from lungdet.store.marker import write_marker
from lungdet.store.preprocess import preprocess
from lungdet.store.schema import StoreSpec
from lungdet.store.writer import write_scan

WORKERS = 2
# Small ones would not do: the bars of docs/benchmarks.md are about scans of this size.
QUICK = Collection(2, (300, 512, 512), (0.564, 0.564, 0.99))
FULL = Collection(4, (300, 512, 512), (0.564, 0.564, 0.99))
SCRIPT = "SimpleITK + scipy script"
ONE, TWO = "lungdet, 1 process", f"lungdet, {WORKERS} processes"

log = logging.getLogger(__name__)


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Scans a minute, and a minute of CPU time, of both, on the same scans; peak memory of one process.

    Starting processes is left out: a collection pays it once, and it would be a third of these few scans. So two
    processes are timed from when each has finished its first scan, and are given every scan several times. The script
    is started as anybody would, with SimpleITK's threads.
    """
    collection = QUICK if quick else FULL
    paths = scans_for(folder, collection)
    rounds, repeats = (3, 3) if quick else (5, 5)
    listed = {f"{uid}.{n}": path for n in range(repeats) for uid, path in paths.items()}
    per_cpu: dict[str, list[float]] = {SCRIPT: [], ONE: []}

    def two(_: int) -> float:
        finished = _stored(listed, folder / "ours.zarr", workers=WORKERS)
        return 60 * (len(finished) - WORKERS) / (finished[-1] - finished[WORKERS - 1])

    def one(_: int) -> float:
        started, cpu = time.perf_counter(), time.process_time()
        finished = _stored(listed, folder / "ours.zarr", workers=1)
        per_cpu[ONE].append(60 * len(finished) / (time.process_time() - cpu))
        return 60 * len(finished) / (time.perf_counter() - started)

    def script(number: int) -> float:
        shutil.rmtree(folder / "script.zarr", ignore_errors=True)
        uid = list(paths)[number % len(paths)]
        started, cpu = time.perf_counter(), time.process_time()
        simple_preprocess(paths[uid], folder / "script.zarr" / uid)
        per_cpu[SCRIPT].append(60 / (time.process_time() - cpu))
        return 60 / (time.perf_counter() - started)

    rates = interleave({SCRIPT: script, TWO: two, ONE: one}, rounds=rounds, warm_up=False)
    peaks = _peaks_mb(next(iter(paths.values())), folder)
    shape = " x ".join(map(str, collection.shape_zyx))
    return [
        *rows(rates, section=f"preprocess, {shape}", unit="scans/min", baseline=SCRIPT, peaks_mb=peaks),
        *rows(per_cpu, section=f"preprocess, {shape}, CPU time", unit="scans/CPU min", baseline=SCRIPT),
    ]


def store_one(path: Path, folder: Path) -> float:
    """Store a scan; the process's peak memory before that, in MB: what is imported."""
    write_marker(folder, StoreSpec())
    before = peak_mb()
    write_scan(path, folder, StoreSpec(), series_uid="scan")
    return before


def script_one(path: Path, folder: Path) -> float:
    """The same by the script."""
    before = peak_mb()
    simple_preprocess(path, folder / "scan")
    return before


def _stored(listed: Mapping[str, Path], target: Path, *, workers: int) -> list[float]:
    """When each scan was finished, in seconds of the clock."""
    shutil.rmtree(target, ignore_errors=True)
    finished: list[float] = []
    report = preprocess(
        listed, target, StoreSpec(), workers=workers, progress=lambda *_: finished.append(time.perf_counter())
    )
    if report.failed:
        raise StoreError(f"the benchmark's own scans failed: {report.failed}")
    return finished


def _peaks_mb(path: Path, folder: Path) -> dict[str, float]:
    """Peak memory of a process that stores one scan; of two, each has as much."""
    scan_mb = path.with_suffix(".raw").stat().st_size / 1e6
    peaks = {}
    for name, work in ((ONE, store_one), (SCRIPT, script_one)):
        target = folder / f"{work.__name__}.zarr"
        shutil.rmtree(target, ignore_errors=True)
        before, peaks[name] = in_new_process(work, path, target)
        log.info("%s: %.1f copies of the scan in memory", name, (peaks[name] - before) / scan_mb)
    return peaks | {TWO: peaks[ONE]}
