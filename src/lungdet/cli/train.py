"""Train a model, score validation and test candidates with its best checkpoint, write the report."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError, LungdetError, RunError

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

    from lungdet.cli.launched import keep_no_log_file
    from lungdet.config.launcher import launched_process
    from lungdet.training.run_directory import RunDirectory

    hydra = HydraConfig.get()
    run_directory = RunDirectory(Path(hydra.runtime.output_dir).resolve())
    me = launched_process()
    if me is not None and me.rank > 0:
        keep_no_log_file()
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
    from lungdet.cli.launched import all_or_none, others_may_end, wait_for_run_directory
    from lungdet.config.launcher import launched_process
    from lungdet.training.environment import write_environment

    me = launched_process()
    # By hand, one process a node is started, and nobody but the configuration says how many.
    with all_or_none(me, n_processes=(me and me.n_processes) or cfg.trainer.get("num_nodes", 1)):
        prepared = prepare(cfg, run_directory)
    if prepared is None:
        log.info("finished before: %s", run_directory.path)
        return run_directory.best_score
    cfg, experiment, resumed = prepared
    if experiment.trainer.is_global_zero:
        run_directory.path.mkdir(parents=True, exist_ok=True)
        run_directory.write_text(run_directory.config, OmegaConf.to_yaml(cfg))
        run_directory.write_text(run_directory.overrides, "\n".join(typed) + "\n")
        write_environment(run_directory)
    wait_for_run_directory(me, run_directory.config)
    with others_may_end():
        experiment.fit(resumed)
        checkpoint = chosen_checkpoint(experiment)
        predictions = experiment.predict(checkpoint)
    if experiment.trainer.is_global_zero:
        experiment.write_predictions(predictions)
        experiment.write_provenance(checkpoint=checkpoint, cfg_seed=cfg.seed)
        evaluate_run(run_directory, cfg.evaluation, datamodule=experiment.datamodule)
    return run_directory.best_score


def prepare(cfg: DictConfig, run_directory: RunDirectory) -> tuple[DictConfig, Experiment, Path | None] | None:
    """Everything that can be refused before a file is written.

    Returns:
        The configuration with initial weights resolved, its objects, the checkpoint to go on from; None for a run
        that is finished and asked to go on.

    Raises:
        ConfigError, RunError: see `check_config`, `refuse_another_run`.
    """
    from lungdet.cli.initial_weights import with_initial_weights
    from lungdet.cli.resume import refuse_another_run, resume_checkpoint
    from lungdet.config import check_config

    if cfg.ckpt_path == "auto" and run_directory.config.is_file():
        cfg = with_initial_weights(cfg, resumed=run_directory.checkpoints / "last.ckpt")
        refuse_another_run(cfg, run_directory)
        if run_directory.is_finished:
            return None
    resumed = resume_checkpoint(cfg, run_directory)
    cfg = with_initial_weights(cfg, resumed=resumed)
    check_config(cfg, root="train")
    propose_bf16(cfg)
    return cfg, build_experiment(cfg, run_directory), resumed


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
        cfg.trainer,
        callbacks=[*callbacks, History()],
        logger=loggers or False,
        default_root_dir=str(run.path),
        **without_requeue(),
    )
    return Experiment(datamodule, task, trainer, run, seed=cfg.seed)


def without_requeue() -> dict[str, Any]:
    """Under SLURM, an argument of the trainer that keeps Lightning from requeueing the job.

    It would go on in the middle of an epoch, with other batches than an undisturbed run; `ckpt_path=auto` goes on
    exactly, after the last whole epoch (docs/clusters.md).
    """
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return {}
    return {"plugins": SLURMEnvironment(auto_requeue=False)}


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
        log.info(
            "this machine has bf16 arithmetic; trainer=fast (trainer.precision=bf16-mixed) trains most networks faster"
        )


def main() -> None:
    """Entry point of `lungdet train` and `python train.py`."""
    from lungdet.config.launcher import launched_process

    try:
        me = launched_process()
        if me is None:
            sys.argv[1:] = resumed_in_place(sys.argv[1:])
        else:
            from lungdet.cli.launched import agree_on_run_directory

            sys.argv[1:] = agree_on_run_directory(sys.argv[1:], me=me, choose=resumed_in_place)
    except LungdetError as error:
        from lungdet.cli.application import explain, leave

        leave([explain(error, "train")])
    launch("train", run)


def resumed_in_place(arguments: list[str]) -> list[str]:
    """See `resume_in_place`; its errors name the key.

    Raises:
        RunError: no run to go on with.
    """
    from lungdet.cli.resume import resume_in_place

    try:
        return resume_in_place(arguments)
    except RunError as error:
        raise RunError(f"ckpt_path=last: {error}") from error


if __name__ == "__main__":
    main()
