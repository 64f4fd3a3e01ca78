"""Write simulated chest CT scans with known nodules in LUNA16 layout, or simulated 2-D images."""

from __future__ import annotations

import logging
import os

from omegaconf import DictConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Write the scans that are not there yet, and the tables.

    Raises:
        ConfigError: a collection that is not simulated.
    """
    from lungdet.cli.progress import scan_progress
    from lungdet.config import check_config
    from lungdet.config.build import build
    from lungdet.io.phantom import write_cohort
    from lungdet.io.phantom_images import ImagePhantomSpec

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="phantom")
    if cfg.data.get("cohort") is None:
        raise ConfigError(
            ["data: nothing here is simulated; type data=phantom, chest_xray_phantom or histopathology_phantom"]
        )
    spec = build(cfg.data.cohort)
    if isinstance(spec, ImagePhantomSpec):
        collection = build(cfg.data).collection  # writes what is missing of it
        log.info("%d %s: %s", len(collection.images), collection.items, cfg.data.root)
        return
    with scan_progress("phantom", total=spec.n_scans) as advance:
        summary = write_cohort(cfg.data.root, spec, workers=cfg.workers or os.cpu_count() or 1, progress=advance)
    log.info("%s", summary)
    log.info("cohort: %s", cfg.data.root)


def main() -> None:
    """Entry point of `lungdet phantom`."""
    launch("phantom", run)


if __name__ == "__main__":
    main()
