"""Find nodules in whole CT scans: one scan or a collection, with tables, a report, markups and DICOM objects."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError, LungdetError, RunError, ScanError

if TYPE_CHECKING:
    from lungdet.cli.recipes import Detector, Networks
    from lungdet.cli.scan_results import ResultFolder
    from lungdet.io.scan_search import FoundScan

log = logging.getLogger(__name__)

OUTPUTS = ("dicom",)
# What a scan may fail of without ending the batch; anything else is a defect of ours and keeps its traceback.
_FAILURES = (LungdetError, OSError, MemoryError, RuntimeError)


def run(cfg: DictConfig) -> None:
    """Check everything that can be checked, search the scans, write what was found.

    Raises:
        ConfigError: settings that do not fit together.
        ScanError: some scans failed; the others have results, and the message lists the failures.
    """
    from lungdet.cli.recipes import book_detector, build_detector
    from lungdet.cli.scan_results import ResultFolder
    from lungdet.config import check_config
    from lungdet.io.scan_search import search_scans

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="detect")
    outputs = _outputs(cfg)
    networks = _networks(cfg)
    detector = build_detector(cfg.pipeline, networks)
    second = book_detector(networks) if cfg.with_book and detector.name != "book" else None
    scans = _chosen(cfg, search_scans(cfg.input), networks)
    if "dicom" in outputs and not any(scan.is_dicom for scan in scans):
        raise ConfigError(
            [
                f"outputs: dicom refers to the slices of a DICOM series, and {cfg.input} holds none (only "
                f"{scans[0].path.name}...); leave it out: outputs=[]"
            ]
        )
    settings = {**detector.settings, "with_book": second is not None, "outputs": outputs}
    results = ResultFolder(
        Path(cfg.out), settings=settings, single=Path(cfg.input).is_file() or (len(scans) == 1 and scans[0].is_dicom)
    )
    results.claim(overwrite=cfg.overwrite)
    failures = search_all(cfg, scans, detector=detector, second=second, results=results)
    finish(cfg, scans, failures, results=results)
    if failures:
        listed = "\n".join(f"  {uid}: {message}" for uid, message in sorted(failures.items()))
        raise ScanError(f"{len(failures)} of {len(scans)} scans failed; the others have results.\n{listed}")


def search_all(
    cfg: DictConfig,
    scans: Sequence[FoundScan],
    *,
    detector: Detector,
    second: Detector | None,
    results: ResultFolder,
) -> dict[str, str]:
    """Search every scan that has no result yet.

    Returns:
        series UID -> why it failed.
    """
    from lungdet.cli.progress import scan_progress
    from lungdet.outputs.detection_page import headline

    failures: dict[str, str] = {}
    missing = [scan for scan in scans if not results.has(scan.series_uid)]
    if len(missing) < len(scans):
        log.info("%d of %d scans have results already", len(scans) - len(missing), len(scans))
    with scan_progress("detect", total=len(scans)) as advance:
        advance(len(scans) - len(missing), len(scans))
        for number, found in enumerate(missing, start=len(scans) - len(missing) + 1):
            try:
                detections = search_one(cfg, found, detector=detector, second=second, results=results)
            except _FAILURES as error:
                failures[found.series_uid] = f"{type(error).__name__}: {error}"
                log.warning("%s: %s", found.series_uid, error)
            else:
                log.info("%s: %s (%.1f s)", found.series_uid, headline(detections), sum(detections.seconds.values()))
            advance(number, len(scans))
    return failures


def search_one(
    cfg: DictConfig, found: FoundScan, *, detector: Detector, second: Detector | None, results: ResultFolder
) -> Any:
    """Read one scan, search it, write its files.

    Raises:
        LungdetError: it cannot be read or searched; nothing of it is left behind that counts as a result.
    """
    from lungdet.io.scan import read_scan
    from lungdet.outputs.dicom_series import read_dicom_series

    uid = found.series_uid if found.is_dicom else None
    series = read_dicom_series(found.path, series_uid=uid) if "dicom" in _outputs(cfg) and found.is_dicom else None
    scan = read_scan(found.path, series_uid=uid)
    detections = detector.run(scan)
    others = {} if second is None else {second.name: second.run(scan)}
    results.write(
        scan,
        detections,
        others=others,
        annotations=_annotations(cfg),
        series=series,
        n_shown=cfg.n_shown,
        dicom_probability=cfg.dicom_probability,
    )
    return detections


def finish(cfg: DictConfig, scans: Sequence[FoundScan], failures: dict[str, str], *, results: ResultFolder) -> None:
    """Write what belongs to the whole collection, and compare it with annotations where there are any."""
    from lungdet.cli.detection_evaluation import evaluate_detections

    searched = [scan.series_uid for scan in scans if scan.series_uid not in failures]
    if not searched:
        return
    results.write_tables(searched, failures)
    froc = None
    if cfg.annotations is not None:
        froc = evaluate_detections(
            results.path,
            annotations=Path(cfg.annotations),
            excluded=None if cfg.excluded is None else Path(cfg.excluded),
            n_bootstraps=cfg.n_bootstraps,
            seed=cfg.seed,
        )
    page = results.write_index(searched, failures, froc=froc, title=Path(cfg.input).name)
    log.info("results: %s", page)


def _networks(cfg: DictConfig) -> Networks:
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
        )
        for role in TASKS
    }


def _chosen(cfg: DictConfig, scans: list[FoundScan], networks: Networks) -> list[FoundScan]:
    """The scans that `only` names.

    Raises:
        RunError: a listed series that is not among the scans, or none left.
    """
    from lungdet.cli.networks import series_of_test_patients
    from lungdet.io.luna16_tables import read_seriesuids

    if cfg.only is None:
        return scans
    if cfg.only == "test":
        wanted = series_of_test_patients([n for given in networks.values() for n in given], Path(cfg.input))
    else:
        wanted = read_seriesuids(cfg.only)
    there = {scan.series_uid for scan in scans}
    absent = [uid for uid in wanted if uid not in there]
    if absent:
        raise RunError(f"only: {len(absent)} of {len(wanted)} listed series are not in {cfg.input}, first {absent[0]}")
    log.info("%d of %d scans are searched", len(wanted), len(scans))
    return [scan for scan in scans if scan.series_uid in set(wanted)]


def _outputs(cfg: DictConfig) -> list[str]:
    outputs = [cfg.outputs] if isinstance(cfg.outputs, str) else list(cfg.outputs)
    unknown = [name for name in outputs if name not in OUTPUTS]
    if unknown:
        raise ConfigError(
            [
                f"outputs: {unknown[0]!r} is unknown; allowed: {', '.join(OUTPUTS)} (table, JSON, report and markups "
                "are always written)"
            ]
        )
    return sorted(set(outputs))


def _annotations(cfg: DictConfig) -> Any:
    """The annotated nodules for the reports, with ratings where there are any; None without a file."""
    from lungdet.cli.detection_evaluation import rated_nodules
    from lungdet.io.luna16_tables import read_annotations

    return None if cfg.annotations is None else rated_nodules(Path(cfg.annotations), read_annotations(cfg.annotations))


def main() -> None:
    """Entry point of `lungdet detect`."""
    launch("detect", run)


if __name__ == "__main__":
    main()
