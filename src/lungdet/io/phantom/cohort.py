"""Writes a whole cohort in LUNA16 layout: in parallel, resumable, each scan there completely or not at all."""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungdet.errors import ConfigError, StoreError
from lungdet.io.phantom.clinical import write_clinical
from lungdet.io.phantom.plan import N_SUBSETS, ScanPlan, plan_cohort
from lungdet.io.phantom.scan import PhantomScan, make_scan
from lungdet.io.phantom.spec import GENERATOR_VERSION, PhantomSpec
from lungdet.io.phantom.tables import write_tables
from lungdet.io.phantom.volumes import write_atomically, write_metaimage

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

SPEC_FILE = "phantom.json"
_FORMAT = "lungdet phantom cohort"
_PROVENANCE = (
    "Simulated by lungdet.io.phantom from analytic shapes and random numbers. No patient data, no data set and no "
    "trained model went into it. Not for clinical use."
)


@dataclass(frozen=True)
class CohortSummary:
    """What a call of `write_cohort` left on disk.

    Attributes:
        root: the cohort's folder.
        n_scans: series in it; written: made by this call; skipped: complete before.
        n_patients: patients in it.
        n_nodules, n_malignant: annotated nodules, and those with mal_bool.
        n_candidates, n_positive: rows of candidates_V2.csv, and those of class 1.
        seconds: taken by this call.
    """

    root: Path
    n_scans: int
    written: int
    skipped: int
    n_patients: int
    n_nodules: int
    n_malignant: int
    n_candidates: int
    n_positive: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.n_scans} scans ({self.written} written, {self.skipped} there before), {self.n_patients} patients, "
            f"{self.n_nodules} nodules ({self.n_malignant} malignant), {self.n_candidates} candidates "
            f"({self.n_positive} of nodules), {self.seconds:.0f} s"
        )


def write_cohort(
    root: Path | str, spec: PhantomSpec, *, workers: int = 1, progress: Progress | None = None
) -> CohortSummary:
    """Writes the cohort of a spec; the same spec gives the same bytes on any number of processes.

    Scans that are complete are kept, so a call that was interrupted is finished by the next one. Besides LUNA16's
    files there are nodule_truth.csv (texture, margin, attachment, true malignancy), candidate_kinds_V2.csv (what each
    candidate sits on), clinical.csv (what a questionnaire would say), truth/<seriesuid>.json (all of a scan's truth; it
    marks the scan as complete) and phantom.json (the spec).

    Args:
        root: folder to write to; absent, empty or holding (part of) the same cohort.
        spec: what to write.
        workers: processes; 1 works in this one.
        progress: called as progress(done, total) after each scan, and once at the start.

    Raises:
        StoreError: the folder holds a cohort of another spec, or files that are no phantom cohort.
        ConfigError: workers < 1.
    """
    if workers < 1:
        raise ConfigError([f"workers: {workers} is not a number of processes; give 1 or more"])
    started = time.perf_counter()
    root = Path(root)
    _claim(root, spec)
    plans = plan_cohort(spec)
    for subset in range(N_SUBSETS):
        (root / f"subset{subset}").mkdir(parents=True, exist_ok=True)
    missing = [plan.index for plan in plans if not _is_complete(root, plan)]
    skipped = len(plans) - len(missing)
    report = progress or (lambda done, total: None)
    report(skipped, len(plans))
    for number, index in enumerate(_write_all(root, spec, missing, workers=workers), start=1):
        log.debug("%s: scan %d (%s) written", root, index, plans[index].series_uid)
        report(skipped + number, len(plans))
    truths = [json.loads(_truth_path(root, plan.series_uid).read_text()) for plan in plans]
    write_tables(root, truths)
    write_clinical(root, spec, plans, truths=truths)
    nodules = [nodule for truth in truths for nodule in truth["annotations"]]
    marks = [mark for truth in truths for mark in truth["candidates_v2"]]
    return CohortSummary(
        root=root,
        n_scans=len(plans),
        written=len(missing),
        skipped=skipped,
        n_patients=len({plan.patient_id for plan in plans}),
        n_nodules=len(nodules),
        n_malignant=sum(nodule["mal_bool"] for nodule in nodules),
        n_candidates=len(marks),
        n_positive=sum(mark["nodule"] >= 0 for mark in marks),
        seconds=time.perf_counter() - started,
    )


def scan_truth(scan: PhantomScan) -> dict[str, Any]:
    """JSON-ready record of a scan without its voxels."""
    return {
        "series_uid": scan.series_uid,
        "patient_id": scan.plan.patient_id,
        "subset": scan.plan.subset,
        "orientation": scan.plan.orientation,
        "padding_hu": scan.plan.padding_hu,
        "geometry": scan.geometry.to_dict(),
        "annotations": scan.annotations,
        "excluded": scan.excluded,
        "candidates_v1": scan.candidates_v1,
        "candidates_v2": scan.candidates_v2,
    }


def _write_all(root: Path, spec: PhantomSpec, indices: list[int], *, workers: int) -> Iterator[int]:
    """Index of each scan as it is finished."""
    if min(workers, len(indices)) <= 1:
        yield from (_write_scan(root, spec, index) for index in indices)
        return
    # Spawned, not forked: the caller may hold threads (torch, OpenMP) whose locks a fork would copy.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(indices)), mp_context=context) as pool:
        running = [pool.submit(_write_scan, root, spec, index) for index in indices]
        try:
            yield from (future.result() for future in as_completed(running))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _write_scan(root: Path, spec: PhantomSpec, index: int) -> int:
    scan = make_scan(spec, index)
    uid = scan.series_uid
    write_metaimage(root / "masks" / f"{uid}.mhd", scan.reader_mask, scan.geometry, compressed=True)
    write_metaimage(root / f"subset{scan.plan.subset}" / f"{uid}.mhd", scan.hu, scan.geometry)
    # Last: its presence says that the rest is whole.
    write_atomically(_truth_path(root, uid), _json(scan_truth(scan)))
    return index


def _is_complete(root: Path, plan: ScanPlan) -> bool:
    header = root / f"subset{plan.subset}" / f"{plan.series_uid}.mhd"
    mask = root / "masks" / f"{plan.series_uid}.mhd"
    depth, height, width = plan.shape_zyx
    voxels = header.with_suffix(".raw")
    files = (_truth_path(root, plan.series_uid), header, mask, mask.with_suffix(".zraw"), voxels)
    return all(path.is_file() for path in files) and voxels.stat().st_size == 2 * depth * height * width


def _claim(root: Path, spec: PhantomSpec) -> None:
    """Makes the folder that of this spec, or refuses."""
    path = root / SPEC_FILE
    if path.is_file():
        with _readable(path):
            record = json.loads(path.read_text())
            theirs, version = dict(record["spec"]), record["generator_version"]
        ours = spec.to_dict()
        differing = [k for k in sorted({*ours, *theirs}) if ours.get(k) != theirs.get(k)]
        changes = [f"{k} is {theirs.get(k)} there, asked is {ours.get(k)}" for k in differing]
        if version != GENERATOR_VERSION:
            changes.append(f"it was made by generator version {version}, this is version {GENERATOR_VERSION}")
        if changes:
            raise StoreError(
                f"{root} holds another phantom cohort: {'; '.join(changes)}. Give another folder (data.root=...), ask "
                f"for the same cohort, or remove this one first: rm -r {root}"
            )
        return
    if root.is_dir() and any(root.iterdir()):
        first = sorted(p.name for p in root.iterdir())[:3]
        raise StoreError(
            f"{root} is not empty and no phantom cohort (no {SPEC_FILE}; it holds {', '.join(first)}, ...); give an "
            "empty or new folder (data.root=...)"
        )
    if root.exists() and not root.is_dir():
        raise StoreError(f"{root} is a file; give a folder (data.root=...)")
    record = {
        "format": _FORMAT,
        "generator_version": GENERATOR_VERSION,
        "fingerprint": spec.fingerprint,
        "spec": spec.to_dict(),
        "knobs": vars(spec.knobs),
        "provenance": _PROVENANCE,
        "licence": "Apache-2.0, as the generator",
    }
    write_atomically(path, _json(record))


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path} cannot be read as the description of a phantom cohort ({error!r}); remove the folder and make "
            f"the cohort again: rm -r {path.parent}"
        ) from error


def _truth_path(root: Path, series_uid: str) -> Path:
    return root / "truth" / f"{series_uid}.json"


def _json(record: dict[str, Any]) -> bytes:
    return (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()
