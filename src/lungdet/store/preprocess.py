"""A collection of scans into one store: parallel over scans, resumable, failures collected instead of raised."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lungdet.errors import LungdetError
from lungdet.io.file_lock import sole_holder
from lungdet.io.scan import Scan, read_scan
from lungdet.store.marker import check_marker, read_marker, write_marker
from lungdet.store.processes import in_processes
from lungdet.store.schema import StoreSpec
from lungdet.store.writer import PARTIAL_PREFIX, is_current, write_scan

log = logging.getLogger(__name__)

_LOCK = ".writing.lock"

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
    mask_paths: Mapping[str, Path] | None = None,
    read: Callable[[Path], Scan] = read_scan,
) -> PreprocessReport:
    """Store every scan that the store does not hold yet, or holds of another file.

    Args:
        scan_paths: series_uid -> what `read` reads.
        store_path: folder of the store; made when missing.
        spec: how. A store made with another spec is refused unless `overwrite`.
        workers: processes, each of one thread; 0 and 1 work in this process.
        overwrite: throw away whatever the store holds first.
        progress: called as `progress(done, total, series_uid)` after each scan.
        command: what to type to rebuild, for the error message.
        mask_paths: series_uid -> lung mask on the grid of its scan (LUNA16's seg-lungs-LUNA16); computed where missing.
        read: reader of scans; a function that can be imported, if there are workers.

    Raises:
        StoreError: the store was made with other settings, the folder is not a store, or another run is writing to it.
    """
    started = time.perf_counter()
    store = Path(store_path)
    if _holds_something(store):
        read_marker(store)  # refuse to write into, or delete, a folder that is not a store
    store.mkdir(parents=True, exist_ok=True)
    # Two runs would take each other's half-written scans for leftovers.
    busy = f"{store}: another run is writing to this store; wait for it, or stop it"
    with sole_holder(store / _LOCK, busy=busy):
        spec = _prepare(store, spec, overwrite=overwrite, command=command)
        masks = mask_paths or {}
        target = _Target(store, spec, read)
        jobs = {uid: (path, masks.get(uid), target) for uid, path in scan_paths.items()}
        report = PreprocessReport(
            skipped=[
                uid for uid, (path, mask, _) in jobs.items()
                if is_current(path, store, spec, series_uid=uid, mask_path=mask)
            ]
        )  # fmt: skip
        for uid in report.skipped:
            del jobs[uid]
        done = len(report.skipped)
        if progress is not None and done:
            progress(done, len(scan_paths), "")
        together = min(workers, len(jobs))
        outcomes = (
            in_processes(_attempt, jobs, workers=together)
            if together > 1
            else ((uid, _attempt(uid, *arguments)) for uid, arguments in jobs.items())
        )
        for uid, failure in outcomes:
            done += 1
            if failure is None:
                report.stored.append(uid)
            else:
                report.failed[uid] = failure
                log.warning("%s: %s", uid, failure)
            if progress is not None:
                progress(done, len(scan_paths), uid)
    report.seconds = time.perf_counter() - started
    return report


@dataclass(frozen=True)
class _Target:
    store: Path
    spec: StoreSpec
    read: Callable[[Path], Scan]


def _attempt(uid: str, path: Path, mask_path: Path | None, to: _Target) -> str | None:
    """Store one scan; why it failed, or None. Whatever goes wrong with one scan, the others go on."""
    try:
        write_scan(path, to.store, to.spec, series_uid=uid, mask_path=mask_path, read=to.read)
    except LungdetError as error:
        return str(error)
    except MemoryError:
        return f"{path}: not enough memory; type fewer workers=..."
    except Exception as error:
        log.debug("%s", path, exc_info=True)
        return f"{path}: {type(error).__name__}: {error}"
    return None


def _holds_something(store: Path) -> bool:
    return store.exists() and (not store.is_dir() or any(p.name != _LOCK for p in store.iterdir()))


def _prepare(store: Path, spec: StoreSpec, *, overwrite: bool, command: str) -> StoreSpec:
    """Make the store ready to be written to; the spec to go on with."""
    if overwrite:
        shutil.rmtree(store / "scans", ignore_errors=True)
    if overwrite or not _holds_something(store):
        write_marker(store, spec)
    check_marker(store, spec, command=command)
    for leftover in (store / "scans").glob(f"{PARTIAL_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    codec = read_marker(store)["spec"]["codec"]
    if codec != spec.codec:
        log.warning("%s goes on with its codec %s, not %s; to rewrite it: %s", store, codec, spec.codec, command)
    return replace(spec, codec=codec)
