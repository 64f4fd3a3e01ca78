"""Train a model, score validation and test candidates with its best checkpoint, write the report."""

from __future__ import annotations

import logging
import os
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
    """Check, build, fit, predict, evaluate; in a multirun with several devices, in a process of its own.

    Returns:
        The best value of the monitored metric, which a sweeper may optimise.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lungdet.training.run_directory import RunDirectory

    hydra = HydraConfig.get()
    run_directory = RunDirectory(Path(hydra.runtime.output_dir).resolve())
    if hydra.mode == RunMode.MULTIRUN and needs_several_processes(cfg):
        from lungdet.cli.train_process import train_as_job

        cwd = Path(hydra.runtime.cwd)
        train_as_job(list(hydra.overrides.task), list(hydra.overrides.hydra), run_directory.path, cwd=cwd)
        return run_directory.best_score
    return train(with_absolute_paths(cfg), run_directory, typed=list(hydra.overrides.task))


def train(cfg: DictConfig, run_directory: RunDirectory, *, typed: list[str]) -> float:
    """One run from configuration to report, in this process (and those that Lightning starts beside it).

    Args:
        cfg: composed, with absolute paths.
        run_directory: where it goes.
        typed: the overrides that were typed, for the record.

    Returns:
        The best value of the monitored metric.
    """
    from lungdet.cli.eval import evaluate_run
    from lungdet.cli.initial_weights import with_initial_weights
    from lungdet.cli.resume import refuse_another_run, resume_checkpoint
    from lungdet.config import check_config
    from lungdet.training.environment import write_environment

    if cfg.ckpt_path == "auto" and run_directory.config.is_file():
        cfg = with_initial_weights(cfg, resumed=run_directory.checkpoints / "last.ckpt")
        refuse_another_run(cfg, run_directory)
        if run_directory.is_finished:
            log.info("finished before: %s", run_directory.path)
            return run_directory.best_score
    resumed = resume_checkpoint(cfg, run_directory)
    cfg = with_initial_weights(cfg, resumed=resumed)
    check_config(cfg, root="train")
    propose_bf16(cfg)
    experiment = build_experiment(cfg, run_directory)
    if experiment.trainer.is_global_zero:
        run_directory.path.mkdir(parents=True, exist_ok=True)
        run_directory.write_text(run_directory.config, OmegaConf.to_yaml(cfg))
        run_directory.write_text(run_directory.overrides, "\n".join(typed) + "\n")
        write_environment(run_directory)
    experiment.fit(resumed)
    checkpoint = chosen_checkpoint(experiment)
    predictions = experiment.predict(checkpoint)
    if experiment.trainer.is_global_zero:
        experiment.write_predictions(predictions)
        experiment.write_provenance(checkpoint=checkpoint, cfg_seed=cfg.seed)
        evaluate_run(run_directory, cfg.evaluation, datamodule=experiment.datamodule)
    return run_directory.best_score


def chosen_checkpoint(experiment: Experiment) -> Path:
    """The best checkpoint, or the last where none is chosen.

    Raises:
        ConfigError: the callbacks keep none.
    """
    callback = experiment.trainer.checkpoint_callback
    chosen = getattr(callback, "best_model_path", "") or getattr(callback, "last_model_path", "")
    if not chosen:
        raise ConfigError(["callbacks.checkpoint: null leaves no checkpoint to predict with"])
    return Path(chosen)


def needs_several_processes(cfg: DictConfig) -> bool:
    """Whether Lightning would start further processes by repeating the command line."""
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

    # Under SLURM with a task a device, every process of the job is there already.
    there_already = SLURMEnvironment.detect() and int(os.environ.get("SLURM_NTASKS", "1")) > 1
    return cfg.trainer.get("devices", 1) not in (1, "1", "auto") and not there_already


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


def propose_bf16(cfg: DictConfig) -> None:
    """Say once that this machine computes in bf16 and nobody asked for it."""
    import torch

    if str(cfg.trainer.get("precision")) not in ("32-true", "32"):
        return
    on_gpu = torch.cuda.is_available() and cfg.trainer.get("accelerator") != "cpu"
    on_cpu = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    if torch.cuda.is_bf16_supported() if on_gpu else on_cpu():
        log.info("this machine has bf16 arithmetic; trainer.precision=bf16-mixed trains most networks faster")


def main() -> None:
    """Entry point of `lungdet train` and `python train.py`."""
    from lungdet.cli.resume import resume_in_place
    from lungdet.errors import RunError

    try:
        sys.argv[1:] = resume_in_place(sys.argv[1:])
    except RunError as error:
        from lungdet.cli.application import leave

        leave([f"ckpt_path=last: {error}"])
    launch("train", run)


if __name__ == "__main__":
    main()
