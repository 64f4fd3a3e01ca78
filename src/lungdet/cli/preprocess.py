"""Turn a collection into one zarr store: resampled HU and lung mask of scans, resized images; resumable, parallel."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.cli.executor import make_executor, scheduler_words
from lungdet.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from lungdet.data.ct import CtDataModule
    from lungdet.executors.outcome import Executor
    from lungdet.store.preprocess import PreprocessReport

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Preprocess every scan or image of `data` that the store does not hold yet.

    Raises:
        StoreError: some failed; the others are stored, and the message lists the failures.
    """
    from lungdet.cli.progress import scan_progress
    from lungdet.config import check_config
    from lungdet.config.build import build
    from lungdet.data.images import ImageDataModule
    from lungdet.executors.local import LocalExecutor

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="preprocess")
    datamodule = build(cfg.data)
    executor = make_executor(cfg)
    if isinstance(datamodule, ImageDataModule):
        if not isinstance(executor, LocalExecutor):
            raise ConfigError(
                ["executor: all images go into one array of the store, from this machine; leave executor= out"]
            )
        datamodule.progress = scan_progress
        workers = cfg.workers or os.cpu_count() or 1
        stored = datamodule.preprocess(workers=workers, overwrite=cfg.overwrite)
        counts = (stored.n_stored, stored.n_skipped, len(stored.failed), stored.seconds, datamodule.store_path)
        log.info("%d images stored, %d already there, %d failed, %.1f s: %s", *counts)
        _tell_failures(stored.failed, n=len(datamodule.collection.images), items="images")
        return
    with executor:
        report = store_scans(datamodule, executor, overwrite=cfg.overwrite)
    log.info(
        "%d scans stored, %d already there, %d failed, %.1f s: %s",
        len(report.stored), len(report.skipped), len(report.failed), report.seconds, datamodule.store_path,
    )  # fmt: skip
    n_scans = len(report.stored) + len(report.skipped) + len(report.failed)
    _tell_failures(report.failed, n=n_scans, items="scans")


def store_scans(datamodule: CtDataModule, executor: Executor, *, overwrite: bool) -> PreprocessReport:
    """Write the scans that the store lacks, wherever the executor works."""
    from lungdet.cli.progress import scan_progress
    from lungdet.store.preprocess import preprocess

    scans, store = datamodule.scan_paths(), datamodule.store_path
    shared = store if isinstance(store, Path) else None  # an object store is reached from anywhere
    with scan_progress("preprocess", total=len(scans)) as advance:
        return preprocess(
            scans,
            store,
            datamodule.store_spec,
            overwrite=overwrite,
            progress=advance,
            run=partial(_failures, executor, shared),
        )


def _failures(
    executor: Executor, shared: Path | None, work: Callable[..., str | None], jobs: Mapping[str, tuple[Any, ...]]
) -> Iterator[tuple[str, str | None]]:
    """Name and failure of each job, whether it was told or the job was given up."""
    for outcome in executor.run(work, jobs, shared=shared):
        yield outcome.name, outcome.failure or outcome.value


def _tell_failures(failed: Mapping[str, str], *, n: int, items: str) -> None:
    if failed:
        listed = "\n".join(f"  {uid}: {message}" for uid, message in sorted(failed.items()))
        raise StoreError(f"{len(failed)} of {n} {items} failed; the others are stored.\n{listed}")


def main() -> None:
    """Entry point of `lungdet preprocess`."""
    sys.argv[1:] = scheduler_words(sys.argv[1:])
    launch("preprocess", run)


if __name__ == "__main__":
    main()
