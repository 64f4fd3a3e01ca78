"""A first look at a collection: classes, samples, histograms, sizes and spacings, copies, what cannot be read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> Path:
    """Look through the collection, write explore.html, explore.json and the figures; neither store nor split is needed.

    Returns:
        The page.

    Raises:
        ConfigError: a value out of range.
        MissingFileError, TableError: no collection where `data` says.
    """
    from hydra.core.hydra_config import HydraConfig

    from lungdet import __version__
    from lungdet.cli.progress import scan_progress
    from lungdet.config import check_config
    from lungdet.config.build import build
    from lungdet.data.ct import CtDataModule
    from lungdet.exploration.files import write_exploration

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="explore")
    check_options(cfg)
    hydra: Any = HydraConfig.get()
    name = str(hydra.runtime.choices["data"])
    out = Path(cfg.out) if cfg.out is not None else Path(cfg.paths.root).resolve() / "explorations" / name
    datamodule = build(cfg.data)
    if hasattr(datamodule, "progress"):
        datamodule.progress = scan_progress
    provenance = {"lungdet": __version__, "typed": " ".join(hydra.overrides.task) or "nothing", "seed": cfg.seed}
    if isinstance(datamodule, CtDataModule):
        from lungdet.cli.explore_scans import explore_scans

        exploration = explore_scans(datamodule, cfg, title=name, provenance=provenance)
    else:
        from lungdet.cli.explore_images import explore_images

        exploration = explore_images(datamodule, cfg, title=name, provenance=provenance)
    page = write_exploration(exploration, out)
    for section in exploration.sections:
        for finding in section.findings:
            (log.warning if finding.kind == "warning" else log.info)(finding.text)
    return page


def check_options(cfg: DictConfig) -> None:
    """Raise one ConfigError with every number that is out of range."""
    least = {"n_samples": 1, "n_scans": 1, "n_preprocessing": 0}
    problems = [
        f"{key}={cfg[key]} must be at least {low}"
        for key, low in least.items()
        if cfg[key] is not None and cfg[key] < low
    ]
    if problems:
        raise ConfigError(problems)


def main() -> None:
    """Entry point of `lungdet explore`."""
    launch("explore", run)


if __name__ == "__main__":
    main()
