"""Find nodules in whole CT scans: one scan or a collection, with tables, a report, markups and DICOM objects."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.cli.executor import make_executor, scheduler_words
from lungdet.errors import ConfigError, LungdetError, MissingFileError, RunError, ScanError

if TYPE_CHECKING:
    from lungdet.cli.detection_evaluation import Truth
    from lungdet.cli.recipes import Detector, Networks
    from lungdet.cli.scan_results import ResultFolder
    from lungdet.cli.scan_search import ScanSearch
    from lungdet.executors.outcome import Executor
    from lungdet.io.scan_search import FoundScan
    from lungdet.pipeline.detections import Detections

log = logging.getLogger(__name__)

OUTPUTS = ("dicom",)


def run(cfg: DictConfig) -> None:
    """Check everything that can be checked, search the scans, write what was found.

    Raises:
        ConfigError: settings that do not fit together.
        LungdetError: an input, a network or a table that cannot be used.
        ScanError: some scans failed; the others have results, and the message lists the failures.
    """
    from lungdet.config import check_config

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="detect")
    check_values(cfg)
    with make_executor(cfg) as executor:
        detect(cfg, executor)


def detect(cfg: DictConfig, executor: Executor) -> None:
    """See `run`."""
    from lungdet.cli.scan_results import ResultFolder
    from lungdet.cli.scan_search import ScanSearch, detectors, settings_of
    from lungdet.io.scan_search import search_scans

    truth = load_truth(cfg)
    networks = load_wanted(cfg)
    detector, second = detectors(cfg, networks)
    found = search_scans(Path(cfg.input))
    _check_dicom(cfg, found)
    scans = _chosen(cfg, found, networks)
    is_single = Path(cfg.input).is_file() or (len(scans) == 1 and scans[0].is_dicom)
    results = ResultFolder(
        Path(cfg.out),
        settings=settings_of(cfg, detector, second),
        single=scans[0].series_uid if is_single else None,
    )
    results.claim(overwrite=cfg.overwrite)
    search = ScanSearch(cfg=cfg, detector=detector, second=second, results=results, truth=truth)
    failures = search_all(scans, search, executor)
    finish(cfg, scans, failures, results=results, truth=truth)
    if failures:
        rest = "; the others have results" if len(failures) < len(scans) else ""
        listed = "\n".join(f"  {uid}: {message}" for uid, message in sorted(failures.items()))
        raise ScanError(f"{len(failures)} of {len(scans)} scan(s) failed{rest}.\n{listed}")


def search_all(scans: Sequence[FoundScan], search: ScanSearch, executor: Executor) -> dict[str, str]:
    """Search every scan that has no result yet, wherever the executor works.

    Returns:
        series UID -> why it failed.
    """
    from lungdet.cli.progress import scan_progress

    failures: dict[str, str] = {}
    results = search.results
    missing = {scan.series_uid: (scan,) for scan in scans if not results.has(scan.series_uid)}
    n_done = len(scans) - len(missing)
    if n_done:
        log.info("%d of %d scans have results already; their reports stay as they are", n_done, len(scans))
    with scan_progress("detect", total=len(scans)) as advance:
        advance(n_done, len(scans))
        outcomes = executor.run(search.as_work(), missing, shared=results.path)
        for number, outcome in enumerate(outcomes, start=n_done + 1):
            uid, searched = outcome.name, outcome.value
            if searched is None or searched.failure is not None:
                failures[uid] = str(outcome.failure if searched is None else searched.failure)
                log.warning("%s: %s", uid, failures[uid])
            else:
                log.info("%s: %s (%s)", uid, searched.headline, searched.seconds)
            advance(number, len(scans))
    for uid in results.still_missing([uid for uid in missing if uid not in failures]):
        failures[uid] = f"its result does not appear in {results.folder(uid)}: do its worker and this process share it?"
    return failures


def search_one(
    cfg: DictConfig,
    found: FoundScan,
    *,
    detector: Detector,
    second: Detector | None,
    results: ResultFolder,
    truth: Truth | None,
) -> Detections:
    """Read one scan, search it, write its files.

    Raises:
        LungdetError: it cannot be read or searched; nothing of it is left behind that counts as a result.
    """
    from lungdet.io.scan import read_scan
    from lungdet.outputs.dicom_series import read_dicom_series

    if found.problem:
        raise ScanError(found.problem)
    uid = found.series_uid if found.is_dicom else None
    series = read_dicom_series(found.path, series_uid=uid) if "dicom" in outputs_of(cfg) else None
    scan = read_scan(found.path, series_uid=uid)
    detections, others = detector.run(scan), {}
    if second is not None:
        try:
            others[second.name] = second.run(scan)
        except LungdetError as error:  # such as a scan too thin for the book's crops: no reason to lose the result
            note = f"{scan.series_uid}: no comparison with pipeline={second.name}: {error}"
            detections = replace(detections, notes=(*detections.notes, note))
    results.write(
        scan,
        detections,
        others=others,
        annotations=None if truth is None else truth.of_scan(scan.series_uid),
        series=series,
        n_shown=cfg.n_shown,
        dicom_probability=cfg.dicom_probability,
    )
    return detections


def finish(
    cfg: DictConfig,
    scans: Sequence[FoundScan],
    failures: dict[str, str],
    *,
    results: ResultFolder,
    truth: Truth | None,
) -> None:
    """Write what belongs to the whole collection, and compare it with annotations where there are any."""
    from lungdet.cli.detection_evaluation import evaluate_detections

    searched = [scan.series_uid for scan in scans if scan.series_uid not in failures]
    results.write_tables(searched, failures)
    froc = None
    if truth is not None and searched:
        if failures:
            log.warning("%d failed scan(s) and their nodules are not in the numbers that follow", len(failures))
        froc = evaluate_detections(results.path, truth, n_bootstraps=cfg.n_bootstraps, seed=cfg.seed)
    page = results.write_index(searched, failures, froc=froc, title=Path(cfg.input).resolve().name)
    if searched:
        log.info("results: %s", page)


def check_values(cfg: DictConfig) -> None:
    """Refuse values that no command could use.

    Raises:
        ConfigError: all of them together.
    """
    problems = [f"{key}: {cfg[key]}; give 0 or more" for key in ("n_bootstraps", "seed", "n_shown") if cfg[key] < 0]
    if not 0 <= cfg.dicom_probability <= 1:
        problems.append(f"dicom_probability: {cfg.dicom_probability}; give a probability from 0 to 1")
    unknown = [name for name in outputs_of(cfg) if name not in OUTPUTS]
    if unknown:
        problems.append(
            f"outputs: {unknown[0]!r} is unknown; allowed: {', '.join(OUTPUTS)} (table, JSON, report and markups are "
            "always written)"
        )
    if cfg.excluded is not None and cfg.annotations is None:
        problems.append("excluded: without annotations nothing is compared; add annotations=...")
    if problems:
        raise ConfigError(problems)


def _check_dicom(cfg: DictConfig, scans: Sequence[FoundScan]) -> None:
    """Refuse DICOM outputs for scans that are none, before anything is computed."""
    other = next((scan for scan in scans if not scan.is_dicom), None)
    if "dicom" in outputs_of(cfg) and other is not None:
        raise ConfigError(
            [
                f"outputs: a DICOM SEG and SR refer to the slices of a DICOM series, and {other.path} is none; give a "
                "folder of DICOM series, or leave dicom out"
            ]
        )


def load_wanted(cfg: DictConfig) -> Networks:
    """The networks of `networks`, by role.

    Raises:
        LungdetError: see `load_networks`.
    """
    import torch

    from lungdet.cli.networks import TASKS, load_networks

    device = cfg.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(["device: cuda asked for, but this machine has no CUDA device; type device=cpu"])
    return {
        role: load_networks(
            cfg.networks[role],
            role=role,
            checkpoint=cfg.networks.checkpoint,
            runs=Path(cfg.paths.runs),
            device=torch.device(device),
            calibrated=cfg.networks.calibrated,
        )
        for role in TASKS
    }


def _chosen(cfg: DictConfig, scans: list[FoundScan], networks: Networks) -> list[FoundScan]:
    """The scans that `only` names.

    Raises:
        LungdetError: no list of series, or a listed one that is not among the scans.
    """
    from lungdet.cli.networks import series_of_test_patients
    from lungdet.io.luna16_tables import read_seriesuids

    if cfg.only is None:
        return scans
    if cfg.only == "test":
        wanted = series_of_test_patients([n for given in networks.values() for n in given], Path(cfg.input))
    elif not Path(cfg.only).is_file():
        raise MissingFileError(f"only: {cfg.only!r} is no file; give null, test, or a file with one series UID a line")
    else:
        wanted = read_seriesuids(Path(cfg.only))
    there = {scan.series_uid for scan in scans}
    absent = [uid for uid in wanted if uid not in there]
    if absent:
        damaged = "".join(f"\n  {scan.problem}" for scan in scans if scan.problem)
        raise RunError(
            f"only: {len(absent)} of {len(wanted)} listed series are not in {cfg.input}, first {absent[0]}{damaged}"
        )
    log.info("%d of %d scans are searched", len(wanted), len(scans))
    return [scan for scan in scans if scan.series_uid in set(wanted)]


def outputs_of(cfg: DictConfig) -> list[str]:
    """The outputs that are asked for, sorted."""
    return [cfg.outputs] if isinstance(cfg.outputs, str) else sorted(set(cfg.outputs))


def load_truth(cfg: DictConfig) -> Truth | None:
    """The annotations that results are compared with, None where there are none."""
    from lungdet.cli.detection_evaluation import read_truth

    if cfg.annotations is None:
        return None
    return read_truth(Path(cfg.annotations), None if cfg.excluded is None else Path(cfg.excluded))


def overrides(arguments: list[str]) -> list[str]:
    """What a person types, in Hydra's words: a path alone in the first place is the input.

    >>> overrides(["/data/my scan.mhd", "with_book=true"])
    ["input='/data/my scan.mhd'", 'with_book=true']
    """
    if not arguments or "=" in arguments[0] or arguments[0].startswith("-"):
        return arguments
    quoted = arguments[0].replace("'", r"\'")
    return [f"input='{quoted}'", *arguments[1:]]


def main() -> None:
    """Entry point of `lungdet detect`."""
    sys.argv[1:] = scheduler_words(overrides(sys.argv[1:]))
    launch("detect", run)


if __name__ == "__main__":
    main()
