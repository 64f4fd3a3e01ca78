"""Turn a trained network from elsewhere (the seed book's .state file) into a run directory that predicts."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import RunError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Read `source` (weights only: nothing in it can run code) and write config.yaml and checkpoints/best.ckpt.

    Raises:
        RunError: `out` already holds a run.
    """
    import pytorch_lightning as pl

    from lungdet.config import check_config
    from lungdet.config.build import build
    from lungdet.nets.book_weights import load_book_classifier
    from lungdet.training.environment import describe_environment
    from lungdet.training.run_directory import RunDirectory

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="import_weights")
    run_directory = RunDirectory(Path(cfg.out))
    if run_directory.config.exists():
        raise RunError(f"{run_directory.path} already holds a run; choose another folder with out=...")
    task = build(cfg.model, optim=None, scheduler=None)
    task.net.load_state_dict(load_book_classifier(Path(cfg.source)).state_dict())
    run_directory.checkpoints.mkdir(parents=True)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(run_directory.checkpoints / "best.ckpt", weights_only=True)
    OmegaConf.save(OmegaConf.create({"data": cfg.input, "model": cfg.model, "seed": 0}), run_directory.config)
    run_directory.write_json(run_directory.provenance, {**describe_environment(), "source": Path(cfg.source).name})
    log.info(
        "run directory: %s; score points with: lungdet predict run=%s data=luna16 data.root=... candidates=...",
        run_directory.path,
        cfg.out,
    )


def main() -> None:
    """Entry point of `lungdet import-weights`."""
    launch("import_weights", run)


if __name__ == "__main__":
    main()
