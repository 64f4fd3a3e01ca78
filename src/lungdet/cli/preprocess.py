"""Turn a collection of CT scans into one zarr store: resampled HU and lung mask, resumable, parallel over scans."""

from __future__ import annotations

import logging
import os

from omegaconf import DictConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import StoreError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Preprocess every scan of `data` that the store does not hold yet.

    Raises:
        StoreError: some scans failed; the others are stored, and the message lists the failures.
    """
    from lungdet.cli.progress import scan_progress
    from lungdet.config import check_config
    from lungdet.config.build import build
    from lungdet.store.preprocess import preprocess

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="preprocess")
    datamodule = build(cfg.data)
    scans = datamodule.scan_paths()
    with scan_progress("preprocess", total=len(scans)) as advance:
        report = preprocess(
            scans,
            datamodule.store_path,
            datamodule.store_spec,
            workers=cfg.workers or os.cpu_count() or 1,
            overwrite=cfg.overwrite,
            progress=advance,
        )
    log.info(
        "%d scans stored, %d already there, %d failed, %.1f s: %s",
        len(report.stored), len(report.skipped), len(report.failed), report.seconds, datamodule.store_path,
    )  # fmt: skip
    if report.failed:
        listed = "\n".join(f"  {uid}: {message}" for uid, message in sorted(report.failed.items()))
        raise StoreError(f"{len(report.failed)} of {len(scans)} scans failed; the others are stored.\n{listed}")


def main() -> None:
    """Entry point of `lungdet preprocess`."""
    launch("preprocess", run)


if __name__ == "__main__":
    main()
