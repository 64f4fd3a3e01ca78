"""Sanity checks: shuffled labels, training on permuted labels, one batch by heart, class prior, shortcuts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.cli.sanity_checks import CHECKS, Subject, as_training, find_predictions
from lungdet.errors import ConfigError

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> list[str]:
    """Make the checks, write sanity.json and sanity.html.

    Returns:
        Names of the checks that failed.

    Raises:
        ConfigError: a check that does not exist, a value out of range, or what stops a training.
        RunError: a run that was named and is not there.
    """
    from hydra.core.hydra_config import HydraConfig

    from lungdet import __version__
    from lungdet.config import check_config
    from lungdet.evaluation.sanity_checks import checks_lines
    from lungdet.evaluation.sanity_page import write_sanity

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="sanity")
    chosen = chosen_checks(cfg)
    training = as_training(cfg)
    check_config(training, root="train")
    hydra: Any = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir).resolve()
    looked_at = find_predictions(cfg.run, Path(cfg.paths.runs))
    subject = Subject(cfg, training, looked_at, folder)
    checks = []
    for name in chosen:
        log.info("checking %s", name)
        checks.append(CHECKS[name](subject))
    directory = looked_at.directory
    provenance = {
        "lungdet": __version__,
        "typed": " ".join(hydra.overrides.task) or "nothing",
        "composed": {group: hydra.runtime.choices[group] for group in ("data", "model", "split", "experiment")},
        "seed": cfg.seed,
        "bootstrap": {"n_resamples": cfg.evaluation.n_resamples, "seed": cfg.evaluation.seed},
        "run": str(directory.path) if directory else None,
        "split_hash_of_run": directory.read_provenance().get("split_hash") if directory else None,
    }
    for line in checks_lines(checks):
        log.info(line)
    name = directory.path.name if directory else f"{hydra.runtime.choices.data}, {hydra.runtime.choices.model}"
    write_sanity(folder, checks, title=name, provenance=provenance)
    return [check.name for check in checks if check.verdict == "failed"]


def chosen_checks(cfg: DictConfig) -> list[str]:
    """The checks of `what=`, in the order in which they are made: from cheap to dear.

    Raises:
        ConfigError: all problems of this command's own keys.
    """
    given = list(cfg.what) if isinstance(cfg.what, ListConfig) else [cfg.what]
    unknown = [str(name) for name in given if name != "all" and name not in CHECKS]
    problems = []
    if unknown or not given:
        problems.append(f"what: there is no check {', '.join(unknown) or 'given'}; allowed: all, {', '.join(CHECKS)}")
    least = {"shuffled.n_permutations": 20, "permuted.n_trainings": 1, "permuted.epochs": 1, "overfit.steps": 1}
    for key, low in least.items():
        group, name = key.split(".")
        if cfg[group][name] < low:
            problems.append(f"{key}={cfg[group][name]} must be at least {low}")
    if not cfg.overfit.loss > 0:
        problems.append(f"overfit.loss={cfg.overfit.loss} must be > 0")
    if not 0 < cfg.overfit.dice <= 1:
        problems.append(f"overfit.dice={cfg.overfit.dice} must be in (0, 1]")
    if problems:
        raise ConfigError(problems)
    return [name for name in CHECKS if name in given or "all" in given]


def main() -> None:
    """Entry point of `lungdet sanity`; leaves with code 1 when a check failed."""
    failed: list[str] = []
    launch("sanity", lambda cfg: failed.extend(run(cfg)))
    if failed:
        log.error("failed: %s", ", ".join(failed))
        raise SystemExit(1)


if __name__ == "__main__":
    main()
