"""Cross-validation: train every fold, merge the out-of-fold predictions by id, evaluate them once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, leave, with_absolute_paths
from lungdet.errors import ConfigError

if TYPE_CHECKING:
    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

# Keys that train does not know.
OWN_KEYS = ("folds", "out")
_TRAIN = Path(__file__).parent / "train.py"

# What the first, planning pass of the command found out for the second.
_plans: list[tuple[Path, list[int], DictConfig]] = []


def plan(cfg: DictConfig) -> None:
    """Check everything that can be checked before the first fold is trained, and decide on folds and folder."""
    from lungdet.config import check_config

    cfg = with_absolute_paths(cfg)
    trained = OmegaConf.create({key: value for key, value in cfg.items() if key not in OWN_KEYS})
    assert isinstance(trained, DictConfig)
    check_config(trained, root="train", elsewhere=_on_a_cluster())
    check_config(cfg, root="cv")
    if cfg.ckpt_path is not None:
        raise ConfigError([f"ckpt_path: {cfg.ckpt_path}: every fold goes on where it was interrupted; leave it null"])
    folds = chosen_folds(cfg)
    out = Path(cfg.out) if cfg.out is not None else Path(cfg.paths.runs) / folder_name("cv")
    _plans.append((out.resolve(), folds, cfg.evaluation))


def chosen_folds(cfg: DictConfig) -> list[int]:
    """The folds to train.

    Raises:
        ConfigError: a split without folds, or a fold that it does not have.
    """
    from lungdet.config.build import build

    n_folds = getattr(build(cfg.split), "n_folds", None)
    if n_folds is None:
        kind = str(cfg.split["_target_"]).rpartition(".")[2]
        raise ConfigError(
            [f"split: {kind} has no folds; type split=grouped_kfold split.n_folds=5, or split=official (LUNA16's ten)"]
        )
    folds = list(range(n_folds)) if cfg.folds is None else [int(fold) for fold in cfg.folds]
    wrong = [fold for fold in folds if not 0 <= fold < n_folds]
    if wrong or not folds or len(set(folds)) < len(folds):
        raise ConfigError([f"folds: {folds}: give some of 0..{n_folds - 1}, each once, or null for all"])
    return folds


def _on_a_cluster() -> bool:
    """Whether each fold is a job on another machine: the login node has neither its GPUs nor its processes."""
    from hydra.core.hydra_config import HydraConfig

    return HydraConfig.get().runtime.choices.get("hydra/launcher") == "submitit_slurm"


def train_folds(out: Path, folds: Sequence[int]) -> None:
    """Train the folds as one multirun, through whatever launcher was asked for; finished ones are left alone."""
    from hydra.core.global_hydra import GlobalHydra

    from lungdet.cli.train import run
    from lungdet.cli.train_process import quoted

    given = [word for word in sys.argv[1:] if word.lstrip("+").partition("=")[0] not in OWN_KEYS]
    GlobalHydra.instance().clear()
    sys.argv = [
        str(_TRAIN),
        "-m",
        *given,
        f"split.fold={','.join(map(str, folds))}",
        "ckpt_path=auto",
        f"hydra.sweep.dir={quoted(out)}",
        "hydra.sweep.subdir=fold${split.fold}",
    ]
    launch("train", run)


def merge(out: Path, runs: Sequence[RunDirectory], evaluation: DictConfig) -> None:
    """Merge the tables of the folds into one run directory and evaluate it.

    Args:
        out: the folder of the folds.
        runs: finished folds.
        evaluation: how.
    """
    from lungdet.cli.eval import evaluate_run
    from lungdet.training.fold_merging import merge_folds
    from lungdet.training.run_directory import RunDirectory

    together = RunDirectory(out)
    merge_folds(runs, together)
    evaluate_run(together, evaluation)


def main() -> None:
    """Entry point of `lungdet cv`."""
    from lungdet.training.run_directory import RunDirectory

    _plans.clear()
    arguments = list(sys.argv)
    launch("cv", plan)
    if not _plans:  # --help, --cfg
        return
    out, folds, evaluation = _plans.pop()
    log.info("%d folds in %s", len(folds), out)
    sys.argv = arguments
    train_folds(out, folds)
    runs = [RunDirectory(out / f"fold{fold}") for fold in folds]
    missing = [run.path.name for run in runs if not run.is_finished]
    if missing:
        leave([f"{', '.join(missing)} did not finish, nothing is merged; the same command again goes on"])
    merge(out, runs, evaluation)


def folder_name(command: str) -> str:
    """Folder of a command's runs: the same command line finds it again."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices
    parts = [choices.get("data"), choices.get("experiment") or choices.get("model")]
    return "_".join([command, *(part for part in parts if part)])


if __name__ == "__main__":
    main()
