"""A collection of scans into one store: parallel over scans, resumable, failures collected instead of raised."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

from lungdet.errors import LungdetError, StoreError
from lungdet.store.marker import check_marker, read_marker, write_marker
from lungdet.store.schema import StoreSpec
from lungdet.store.writer import PARTIAL_PREFIX, write_scan

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


@dataclass
class PreprocessReport:
    """What a call did.

    Attributes:
        stored: series written by this call.
        skipped: series that were there already.
        failed: series -> why; nothing of them is in the store.
        seconds: wall time.
    """

    stored: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


def preprocess(
    scan_paths: Mapping[str, Path],
    store_path: Path | str,
    spec: StoreSpec,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str = "lungdet preprocess ... overwrite=true",
) -> PreprocessReport:
    """Store every scan that the store does not hold yet.

    Args:
        scan_paths: series_uid -> what `read_scan` reads.
        store_path: folder of the store; made when missing.
        spec: how. A store made with another spec is refused unless `overwrite`.
        workers: processes, each of one thread; 1 works in this process.
        overwrite: throw away whatever the store holds first.
        progress: called as `progress(done, total, series_uid)` after each scan.
        command: what to type to rebuild, for the error message.

    Raises:
        StoreError: the store was made with other settings, or the folder is not a store.
    """
    started = time.perf_counter()
    store = Path(store_path)
    if overwrite and store.exists():
        read_marker(store)  # refuse to delete a folder that is not a store
        shutil.rmtree(store)
    if store.exists():
        check_marker(store, spec, command=command)
    else:
        write_marker(store, spec)
    for leftover in (store / "scans").glob(f"{PARTIAL_PREFIX}*"):
        shutil.rmtree(leftover)
    report = PreprocessReport(skipped=[uid for uid in scan_paths if (store / "scans" / uid).is_dir()])
    waiting = {uid: path for uid, path in scan_paths.items() if uid not in set(report.skipped)}
    done = len(report.skipped)
    if progress is not None and done:
        progress(done, len(scan_paths), "")

    def finish(uid: str, error: BaseException | None) -> None:
        nonlocal done
        done += 1
        if error is None:
            report.stored.append(uid)
        else:
            report.failed[uid] = str(error) or type(error).__name__
            log.warning("%s: %s", uid, report.failed[uid])
        if progress is not None:
            progress(done, len(scan_paths), uid)

    if workers <= 1 or len(waiting) <= 1:
        for uid, path in waiting.items():
            finish(uid, _attempt(path, store, spec, uid))
    else:
        _in_processes(waiting, store, spec, min(workers, len(waiting)), finish)
    report.seconds = time.perf_counter() - started
    return report


def _attempt(path: Path, store: Path, spec: StoreSpec, uid: str) -> BaseException | None:
    try:
        write_scan(path, store, spec, series_uid=uid)
    except (LungdetError, OSError, MemoryError, ValueError) as error:
        return error
    return None


def _in_processes(
    waiting: Mapping[str, Path],
    store: Path,
    spec: StoreSpec,
    workers: int,
    finish: Callable[[str, BaseException | None], None],
) -> None:
    # Spawned, not forked: numpy, OpenCV and zarr all start threads that do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        jobs = {pool.submit(_attempt, path, store, spec, uid): uid for uid, path in waiting.items()}
        try:
            for job in as_completed(jobs):
                try:
                    finish(jobs[job], job.result())
                except BrokenProcessPool as error:
                    raise StoreError(
                        "a worker process was killed (out of memory?); what was finished is stored: type the same "
                        "command again, with fewer workers=..."
                    ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
