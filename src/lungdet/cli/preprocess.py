"""Turn a collection into one zarr store: resampled HU and lung mask of scans, resized images; resumable, parallel."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from omegaconf import DictConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import StoreError

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
    from lungdet.store.preprocess import preprocess

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="preprocess")
    datamodule = build(cfg.data)
    workers = cfg.workers or os.cpu_count() or 1
    if isinstance(datamodule, ImageDataModule):
        datamodule.progress = scan_progress
        stored = datamodule.preprocess(workers=workers, overwrite=cfg.overwrite)
        counts = (stored.n_stored, stored.n_skipped, len(stored.failed), stored.seconds, datamodule.store_path)
        log.info("%d images stored, %d already there, %d failed, %.1f s: %s", *counts)
        _tell_failures(stored.failed, n=len(datamodule.collection.images), items="images")
        return
    scans = datamodule.scan_paths()
    with scan_progress("preprocess", total=len(scans)) as advance:
        report = preprocess(
            scans,
            datamodule.store_path,
            datamodule.store_spec,
            workers=workers,
            overwrite=cfg.overwrite,
            progress=advance,
        )
    log.info(
        "%d scans stored, %d already there, %d failed, %.1f s: %s",
        len(report.stored), len(report.skipped), len(report.failed), report.seconds, datamodule.store_path,
    )  # fmt: skip
    _tell_failures(report.failed, n=len(scans), items="scans")


def _tell_failures(failed: Mapping[str, str], *, n: int, items: str) -> None:
    if failed:
        listed = "\n".join(f"  {uid}: {message}" for uid, message in sorted(failed.items()))
        raise StoreError(f"{len(failed)} of {n} {items} failed; the others are stored.\n{listed}")


def main() -> None:
    """Entry point of `lungdet preprocess`."""
    launch("preprocess", run)


if __name__ == "__main__":
    main()
