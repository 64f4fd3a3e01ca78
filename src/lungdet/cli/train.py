"""Train a model, score validation and test candidates with its best checkpoint, write the report."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError

if TYPE_CHECKING:
    from lungdet.training.experiment import Experiment
    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> float:
    """Check, build, fit, predict, evaluate.

    Returns:
        The best value of the monitored metric, which a sweeper may optimise.
    """
    from hydra.core.hydra_config import HydraConfig

    from lungdet.cli.eval import evaluate_run
    from lungdet.cli.initial_weights import with_initial_weights
    from lungdet.config import check_config
    from lungdet.training.run_directory import RunDirectory

    cfg = with_absolute_paths(cfg)
    run_directory = RunDirectory(Path(HydraConfig.get().runtime.output_dir).resolve())
    resumed = resume_checkpoint(cfg, run_directory)
    cfg = with_initial_weights(cfg, resumed=resumed)
    check_config(cfg, root="train")
    propose_bf16(cfg)
    experiment = build_experiment(cfg, run_directory)
    if experiment.trainer.is_global_zero:
        OmegaConf.save(cfg, run_directory.config)
        run_directory.overrides.write_text("\n".join(HydraConfig.get().overrides.task) + "\n")
    experiment.fit(resumed)
    checkpoint_callback = experiment.trainer.checkpoint_callback
    chosen = getattr(checkpoint_callback, "best_model_path", "") or getattr(checkpoint_callback, "last_model_path", "")
    if not chosen:
        raise ConfigError(["callbacks.checkpoint: null leaves no checkpoint to predict with"])
    checkpoint = Path(chosen)
    predictions = experiment.predict(checkpoint)
    if experiment.trainer.is_global_zero:
        experiment.write_predictions(predictions)
        experiment.write_provenance(checkpoint=checkpoint, cfg_seed=cfg.seed)
        evaluate_run(run_directory, cfg.evaluation, datamodule=experiment.datamodule)
    score = getattr(checkpoint_callback, "best_model_score", None)
    return float(score) if score is not None else float("nan")


def build_experiment(cfg: DictConfig, run: RunDirectory) -> Experiment:
    """The objects that a checked configuration describes."""
    import pytorch_lightning as pl

    from lungdet.cli.progress import scan_progress
    from lungdet.config.build import build
    from lungdet.training.callbacks import History
    from lungdet.training.experiment import Experiment

    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = build(cfg.data, split=build(cfg.split), seed=cfg.seed)
    if hasattr(datamodule, "progress"):  # a collection that makes itself
        datamodule.progress = scan_progress
    task = build(cfg.model, optim=build(cfg.optim), scheduler=build(cfg.scheduler))
    callbacks = [build(node) for node in cfg.callbacks.values() if node]
    loggers = build_loggers(cfg.logger, run.path)
    trainer = build(
        cfg.trainer, callbacks=[*callbacks, History()], logger=loggers or False, default_root_dir=str(run.path)
    )
    return Experiment(datamodule, task, trainer, run, seed=cfg.seed)


def build_loggers(nodes: DictConfig, folder: Path) -> list[Any]:
    """The trackers of `logger=...`; those that keep files keep them in the run directory."""
    import inspect

    from hydra.utils import get_class

    from lungdet.config.build import build

    loggers = []
    for node in nodes.values():
        if node:
            keeps_files = "save_dir" in inspect.signature(get_class(node["_target_"])).parameters
            given = {"save_dir": str(folder)} if keeps_files and "save_dir" not in node else {}
            loggers.append(build(node, **given))
    return loggers


def resume_checkpoint(cfg: DictConfig, run: RunDirectory) -> Path | None:
    """The file to go on from, or None.

    Raises:
        RunError: it is asked for and not there.
    """
    from lungdet.training.run_directory import find_run

    if cfg.ckpt_path is None:
        return None
    if cfg.ckpt_path == "last":
        return run.checkpoint("last")
    path = Path(cfg.ckpt_path).expanduser()
    if path.is_file():
        return path
    return find_run(cfg.ckpt_path, Path(cfg.paths.runs)).checkpoint("last")


def resume_in_place(arguments: list[str]) -> list[str]:
    """With `ckpt_path=last`, name the newest run's directory as this run's, so that it goes on where it is.

    Args:
        arguments: the command line without the program.

    Returns:
        The same, with `hydra.run.dir=<newest run>` where `ckpt_path=last` is asked for and no directory is named.
    """
    from lungdet.training.run_directory import find_run

    named = any(a.startswith("hydra.run.dir=") for a in arguments)
    sweep = any(a in ("-m", "--multirun") for a in arguments)
    if "ckpt_path=last" not in arguments or named or sweep:
        return arguments
    given = dict(a.split("=", 1) for a in arguments if a.startswith("paths.") and "=" in a)
    runs = Path(given.get("paths.runs", str(Path(given.get("paths.root", ".")) / "runs")))
    newest = find_run("latest", runs, holding="checkpoints/last.ckpt")
    log.info("resuming %s", newest.path)
    return [*arguments, f"hydra.run.dir={newest.path.resolve()}"]


def propose_bf16(cfg: DictConfig) -> None:
    """Say once that this machine computes in bf16 and nobody asked for it."""
    import torch

    if str(cfg.trainer.get("precision")) not in ("32-true", "32"):
        return
    on_gpu = torch.cuda.is_available() and cfg.trainer.get("accelerator") != "cpu"
    on_cpu = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    if torch.cuda.is_bf16_supported() if on_gpu else on_cpu():
        log.info("this machine has bf16 arithmetic; trainer.precision=bf16-mixed trains faster")


def main() -> None:
    """Entry point of `lungdet train` and `python train.py`."""
    from lungdet.errors import RunError

    try:
        sys.argv[1:] = resume_in_place(sys.argv[1:])
    except RunError as error:
        from lungdet.cli.application import leave

        leave([f"ckpt_path=last: {error}"])
    launch("train", run)


if __name__ == "__main__":
    main()
