"""Preprocessing to 1 mm with a lung mask: this package with two processes against a straightforward script."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from lungdet.bench.rows import Row, interleave, rows
from lungdet.bench.scans import Collection, scans_for
from lungdet.bench.simple_preprocess import simple_preprocess
from lungdet.errors import StoreError
from lungdet.store.preprocess import preprocess
from lungdet.store.schema import StoreSpec

WORKERS = 2
QUICK = Collection(6, (200, 320, 320), (0.8, 0.8, 1.2))
FULL = Collection(4, (300, 512, 512), (0.564, 0.564, 0.99))
SCRIPT = "SimpleITK + scipy script"


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Scans a minute of both, on the same scans.

    Starting processes is left out: a collection pays it once, and it would be a third of these few scans. So ours is
    timed from when each process has finished its first scan, and is given every scan several times.
    """
    collection = QUICK if quick else FULL
    paths = scans_for(folder, collection)
    rounds, repeats = (3, 2) if quick else (5, 5)
    listed = {f"{uid}.{n}": path for n in range(repeats) for uid, path in paths.items()}

    def ours(workers: int) -> float:
        target = folder / "ours.zarr"
        shutil.rmtree(target, ignore_errors=True)
        finished: list[float] = []
        report = preprocess(
            listed, target, StoreSpec(), workers=workers, progress=lambda *_: finished.append(time.perf_counter())
        )
        if report.failed:
            raise StoreError(f"the benchmark's own scans failed: {report.failed}")
        return 60 * (len(finished) - workers) / (finished[-1] - finished[workers - 1])

    def script(_: int) -> float:
        shutil.rmtree(folder / "script.zarr", ignore_errors=True)
        chosen = list(paths.items())[:2]
        started = time.perf_counter()
        for uid, path in chosen:
            simple_preprocess(path, folder / "script.zarr" / uid)
        return 60 * len(chosen) / (time.perf_counter() - started)

    contenders = {
        SCRIPT: script,
        f"lungdet, {WORKERS} processes": lambda _: ours(WORKERS),
        "lungdet, 1 process": lambda _: ours(1),
    }
    shape = " x ".join(map(str, collection.shape_zyx))
    rates = interleave(contenders, rounds=rounds, warm_up=False)
    return rows(rates, section=f"preprocess, {shape}", unit="scans/min", baseline=SCRIPT)
