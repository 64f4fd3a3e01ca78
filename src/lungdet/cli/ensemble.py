"""Make one run of several trainings: the mean of their logits, evaluated; export and predict take it like any run."""

from __future__ import annotations

import datetime
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError, RunError, TableError

if TYPE_CHECKING:
    from torch import nn

    from lungdet.exports.card import NetworkCard
    from lungdet.training.ensembling import Member
    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> None:
    """Check that the members go together, write the ensemble and evaluate it.

    Raises:
        ConfigError: fewer than two runs, or one twice.
        RunError: a run that is no finished training, members of different tasks, or a folder that is not empty.
        TableError: members that scored different rows.
    """
    from lungdet.cli.eval import evaluate_run
    from lungdet.comparison.runs import run_names
    from lungdet.config import check_config
    from lungdet.training.ensembling import member_of, merge_members
    from lungdet.training.run_directory import RunDirectory, find_run

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="ensemble")
    if len(cfg.runs) < 2:
        raise ConfigError([f"runs: an ensemble takes at least two, got {len(cfg.runs)}; type runs=[first,second]"])
    directories = [find_run(str(name), Path(cfg.paths.runs), holding="provenance.json") for name in cfg.runs]
    names = run_names([directory.path for directory in directories])
    members = [member_of(directory) for directory in directories]
    is_shared = cfg.rows == "shared"
    if is_shared:
        check_rows(dict(zip(names, directories, strict=True)))
    together = RunDirectory(Path(cfg.out) if cfg.out else Path(cfg.paths.runs).resolve() / default_name(len(members)))
    if together.path.is_dir() and any(together.path.iterdir()):
        raise RunError(f"out: {together.path} is not empty; choose another folder")
    merge_members(members, together, rows_are_shared=is_shared)
    OmegaConf.save(configuration(directories, names, rows_are_shared=is_shared), together.config)
    if is_shared:
        evaluate_run(together, cfg.evaluation)
    log.info("%d members averaged: %s", len(members), together.path)


def check_rows(directories: dict[str, RunDirectory]) -> None:
    """Refuse runs whose validation or test rows differ.

    Args:
        directories: name -> run.

    Raises:
        TableError: how they differ; or tables of masks, which hold no logits.
    """
    from lungdet.cli.compare import read_run
    from lungdet.comparison.same_rows import check_same_rows, check_same_task
    from lungdet.evaluation.mask_predictions import holds_masks

    for name, directory in directories.items():
        if not directory.predictions.is_file():
            raise RunError(f"{name} has no predictions.parquet; score its rows: lungdet predict run={name}")
        if holds_masks(directory.predictions):
            raise TableError(f"{name} is a segmentation run; give several to detect: networks.segmentation=[a,b]")
    runs = [read_run(name, directory) for name, directory in directories.items()]
    check_same_task(runs)
    try:
        for partition in ("val", "test"):
            check_same_rows(runs, partition)
    except TableError as error:
        raise TableError(
            f"{error}\nMembers of different splits or folds have no rows in common to be evaluated on; for new images "
            "alone add rows=none"
        ) from error


def configuration(directories: Sequence[RunDirectory], names: Sequence[str], *, rows_are_shared: bool) -> DictConfig:
    """The config.yaml of an ensemble: data and split of the first member, what was averaged; no model of its own."""
    first = OmegaConf.load(directories[0].config)
    assert isinstance(first, DictConfig)
    kept = ("paths", "data", "split", "evaluation") if rows_are_shared else ("paths", "data", "evaluation")
    config = {key: first[key] for key in kept if key in first}
    return OmegaConf.create({**config, "ensemble": {"average_of": "logits", "members": list(names)}})


def default_name(n_members: int) -> str:
    """A dated folder, as those of trainings."""
    return f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}_ensemble_of_{n_members}"


def network_of_ensemble(
    run_directory: RunDirectory, members: Sequence[Member], *, name: str
) -> tuple[nn.Module, NetworkCard]:
    """All members as one network, and its card without files.

    Args:
        run_directory: of the ensemble.
        members: what it averages.
        name: for the card.

    Raises:
        RunError: see `card_of_ensemble` and `network_of_run`.
    """
    from lungdet.cli.export import calibration_for, network_of_run
    from lungdet.exports.ensemble import card_of_ensemble
    from lungdet.nets.network_average import NetworkAverage
    from lungdet.training.run_directory import RunDirectory

    parts = [network_of_run(RunDirectory(m.run), str(m.path), name=m.name) for m in members]
    report = run_directory.path / "report.json"
    card = card_of_ensemble(
        [card for _, card in parts],
        name=name,
        calibration=calibration_for(run_directory, run_directory.members),
        report=json.loads(report.read_text()) if report.is_file() else {},
    )
    return NetworkAverage([net for net, _ in parts]).eval(), card


def main() -> None:
    """Entry point of `lungdet ensemble`."""
    launch("ensemble", run)


if __name__ == "__main__":
    main()
