"""A collection of scans into one store: parallel over scans, resumable, failures collected instead of raised."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lungdet.errors import LungdetError, StoreError
from lungdet.io.file_lock import sole_holder
from lungdet.io.scan import Scan, read_scan
from lungdet.store.location import ObjectFolder, StoreLocation, as_location
from lungdet.store.marker import PARTIAL_GROUP, check_marker, read_marker, write_marker
from lungdet.store.processes import Outcome, in_processes
from lungdet.store.remote_writer import refuse_writing
from lungdet.store.schema import StoreSpec
from lungdet.store.series_list import read_series, write_series, written_series
from lungdet.store.writer import PARTIAL_PREFIX, current_scans, set_aside, write_scan

log = logging.getLogger(__name__)

_LOCK = ".writing.lock"

Progress = Callable[[int, int, str], None]

Run = Callable[[Callable[..., str | None], Mapping[str, tuple[Any, ...]]], Iterable[Outcome]]
"""Something that calls a function for each job, as `in_processes` does."""


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
    store_path: Path | str | ObjectFolder,
    spec: StoreSpec,
    *,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
    command: str = "lungdet preprocess ... overwrite=true",
    mask_paths: Mapping[str, Path] | None = None,
    read: Callable[[Path], Scan] = read_scan,
    run: Run | None = None,
) -> PreprocessReport:
    """Store every scan that the store does not hold yet, or holds of another file.

    Args:
        scan_paths: series_uid -> what `read` reads.
        store_path: folder of the store, or its address in an object store; made when missing.
        spec: how. A store made with another spec is refused unless `overwrite`.
        workers: processes, each of one thread; 0 and 1 work in this process.
        overwrite: throw away whatever the store holds first.
        progress: called as `progress(done, total, series_uid)` after each scan.
        command: what to type to rebuild, for the error message.
        mask_paths: series_uid -> lung mask on the grid of its scan (LUNA16's seg-lungs-LUNA16); computed where missing.
        read: reader of scans; a function that can be imported, if there are workers.
        run: who writes the scans instead of `workers`, such as a cluster that sees the store.

    Raises:
        StoreError: the store was made with other settings, the folder is not a store, or another run is writing to it.
    """
    started = time.perf_counter()
    store = as_location(store_path)
    if _holds_something(store):
        read_marker(store)  # refuse to write into, or delete, a folder that is not a store
    with _sole_writer(store):
        spec = _prepare(store, spec, overwrite=overwrite, command=command)
        masks = mask_paths or {}
        target = _Target(store, spec, read)
        jobs = {uid: (path, masks.get(uid), target) for uid, path in scan_paths.items()}
        report = PreprocessReport(skipped=current_scans(scan_paths, store, spec, mask_paths=masks))
        for uid in report.skipped:
            del jobs[uid]
        if jobs:
            refuse_writing(store)
            write_series(store, None)
        done = len(report.skipped)
        if progress is not None and done:
            progress(done, len(scan_paths), "")
        together = min(workers, len(jobs))
        outcomes: Iterable[Outcome]
        if run is not None:
            outcomes = run(_attempt, jobs)
        elif together > 1:
            outcomes = in_processes(_attempt, jobs, workers=together)
        else:
            outcomes = ((uid, _attempt(uid, *arguments)) for uid, arguments in jobs.items())
        for uid, failure in outcomes:
            done += 1
            if failure is None:
                report.stored.append(uid)
            else:
                report.failed[uid] = failure
                log.warning("%s: %s", uid, failure)
            if progress is not None:
                progress(done, len(scan_paths), uid)
        _remove_leftovers(store)  # of processes that were killed
        if report.stored or (isinstance(store, ObjectFolder) and read_series(store) is None):
            write_series(store, written_series(store))
    report.seconds = time.perf_counter() - started
    return report


@dataclass(frozen=True)
class _Target:
    store: StoreLocation
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


def _sole_writer(store: StoreLocation) -> AbstractContextManager[None]:
    """While this lasts no other run writes to a folder; an object store has no locks (docs/object_stores.md)."""
    if isinstance(store, ObjectFolder):
        return nullcontext()
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{store}: cannot be made ({error.strerror}); choose another data.store_path") from error
    # Two runs would take each other's half-written scans for leftovers.
    return sole_holder(store / _LOCK, busy=f"{store}: another run is writing to this store; wait for it, or stop it")


def _holds_something(store: StoreLocation) -> bool:
    if isinstance(store, ObjectFolder):
        return store.exists()
    mine = (_LOCK, PARTIAL_GROUP)  # of a run that was killed before anything else
    return store.exists() and (not store.is_dir() or any(p.name not in mine for p in store.iterdir()))


def _prepare(store: StoreLocation, spec: StoreSpec, *, overwrite: bool, command: str) -> StoreSpec:
    """Make the store ready to be written to; the spec to go on with."""
    is_new = overwrite or not _holds_something(store)
    if is_new:
        refuse_writing(store)
    if overwrite:
        _remove_scans(store)
    if is_new:
        write_marker(store, spec)
    codec = check_marker(store, spec, command=command)["spec"]["codec"]
    _remove_leftovers(store)
    if codec != spec.codec:
        log.warning("%s goes on with its codec %s, not %s; to rewrite it: %s", store, codec, spec.codec, command)
    return replace(spec, codec=codec)


def _remove_scans(store: StoreLocation) -> None:
    if isinstance(store, ObjectFolder):
        (store / "scans").delete_below()
        return
    try:
        for series_uid in written_series(store):
            set_aside(store / "scans" / series_uid)  # or a run that is killed here leaves scans without their voxels
    except OSError as error:
        raise StoreError(f"{store}: its scans cannot be deleted ({error.strerror}); choose another path") from error
    shutil.rmtree(store / "scans", ignore_errors=True)


def _remove_leftovers(store: StoreLocation) -> None:
    if isinstance(store, ObjectFolder):
        return  # a scan is uploaded when it is whole; what an interrupted upload left is replaced by the next one
    for leftover in (store / "scans").glob(f"{PARTIAL_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
