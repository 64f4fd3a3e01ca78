"""Search for settings: Optuna's TPE over the ranges of a `sweep=` file, a training process a trial, resumable."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.cli.search_space import as_override, read_space
from lungdet.errors import ConfigError, RunError

if TYPE_CHECKING:
    from optuna import Study

    from lungdet.cli.search_trials import Search

log = logging.getLogger(__name__)

# Keys that train does not know.
OWN_KEYS = ("n_trials", "timeout_min", "jobs", "search_seed", "startup_trials", "prune_after", "out")

STUDY = "lungdet"


def run(cfg: DictConfig) -> None:
    """Check, open the study, run what is missing of it, write the table of its trials."""
    from hydra.core.hydra_config import HydraConfig

    from lungdet.cli.cv import folder_name
    from lungdet.config import check_config

    hydra = HydraConfig.get()
    cfg = with_absolute_paths(cfg)
    check(cfg)
    params = OmegaConf.to_container(hydra.sweeper.params) if hydra.sweeper.get("params") else {}
    space = read_space(params if isinstance(params, dict) else {})  # type: ignore[arg-type]
    trained = OmegaConf.create({key: value for key, value in cfg.items() if key not in OWN_KEYS})
    assert isinstance(trained, DictConfig)
    check_config(trained, root="train")
    out = (Path(cfg.out) if cfg.out is not None else Path(cfg.paths.runs) / folder_name("search")).resolve()
    typed = [w for w in hydra.overrides.task if w.lstrip("+").partition("=")[0] not in OWN_KEYS]
    search = prepare(cfg, space, typed, out, cwd=Path(hydra.runtime.cwd))
    search.run()
    summarise_study(search)


def check(cfg: DictConfig) -> None:
    """Refuse impossible counts, and a monitor that nothing can be searched by.

    Raises:
        ConfigError: with all problems.
    """
    from lungdet.config import check_config

    check_config(cfg, root="search")
    problems = [f"{key}: must be at least 1, got {cfg[key]}" for key in ("n_trials", "jobs") if cfg[key] < 1]
    if cfg.ckpt_path is not None:
        problems.append(f"ckpt_path: {cfg.ckpt_path}: every trial goes on where it was interrupted; leave it null")
    if not OmegaConf.select(cfg, "callbacks.checkpoint.monitor"):
        problems.append("callbacks.checkpoint: null; a search needs its monitor to compare trials")
    if problems:
        raise ConfigError(problems)


def prepare(cfg: DictConfig, space: dict[str, Any], typed: list[str], out: Path, *, cwd: Path) -> Search:
    """The study (opened or made) and how its trials are run."""
    from optuna.pruners import MedianPruner, NopPruner
    from optuna.samplers import TPESampler

    from lungdet.cli.search_trials import Search

    out.mkdir(parents=True, exist_ok=True)
    refuse_another_search(out, {"typed": typed, "space": {key: repr(value) for key, value in space.items()}})
    mode = str(cfg.callbacks.checkpoint.mode)
    pruner = (
        NopPruner()
        if cfg.prune_after is None
        else MedianPruner(n_startup_trials=cfg.startup_trials, n_warmup_steps=max(0, cfg.prune_after - 1))
    )

    def sampler(n_trials: int) -> TPESampler:
        seed = int(np.random.SeedSequence([cfg.search_seed, n_trials]).generate_state(1)[0])
        return TPESampler(seed=seed, n_startup_trials=cfg.startup_trials)

    return Search(
        study=open_study(out, pruner, "maximize" if mode == "max" else "minimize"),
        space=space,
        overrides=typed,
        folder=out,
        cwd=cwd,
        monitor=str(cfg.callbacks.checkpoint.monitor),
        mode=mode,
        sampler=sampler,
        n_trials=cfg.n_trials,
        jobs=cfg.jobs,
        deadline=math.inf if cfg.timeout_min is None else time.monotonic() + 60 * cfg.timeout_min,
    )


def open_study(out: Path, pruner: Any, direction: str) -> Study:
    """The study in `<out>/study.db` (SQLite), made when it is missing."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=f"sqlite:///{out / 'study.db'}",
        study_name=STUDY,
        direction=direction,  # type: ignore[arg-type]
        pruner=pruner,
        load_if_exists=True,
    )


def refuse_another_search(out: Path, settings: dict[str, Any]) -> None:
    """Keep what the search is made of beside the study; raise where it differs from an earlier call's.

    Raises:
        RunError: trials of different searches would be compared with each other.
    """
    path = out / "search.json"
    if path.is_file():
        before = json.loads(path.read_text())
        differing = [key for key in settings if before.get(key) != settings[key]]
        if differing:
            listed = "; ".join(f"{key} was {before.get(key)}, is {settings[key]}" for key in differing)
            raise RunError(f"{out} holds another search: {listed}. Give another folder (out=)")
        return
    path.write_text(json.dumps(settings, indent=2) + "\n")


def summarise_study(search: Search) -> None:
    """Write the table and figure of all trials, and say what to type for the best."""
    from optuna.trial import TrialState

    from lungdet.cli.search_trials import DIRECTORY
    from lungdet.cli.sweep_summary import log_best, summarise
    from lungdet.sweeps.page import write_sweep

    words = {TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
    trials = search.over()
    status = {str(t.user_attrs[DIRECTORY]): words[t.state] for t in trials if DIRECTORY in t.user_attrs}
    table = summarise([search.folder / name for name in status], title=search.folder.name, status=status)
    log_best(table)
    write_sweep(table, search.folder)
    if any(t.state == TrialState.COMPLETE for t in trials):
        settings = [as_override(key, value) for key, value in search.study.best_params.items()]
        log.info("to train the best again: lungdet train %s", " ".join([*search.overrides, *settings]))


def main() -> None:
    """Entry point of `lungdet search`."""
    multirun = [word for word in sys.argv[1:] if word in ("-m", "--multirun")]
    for word in multirun:  # the ranges of a sweep file say it already
        sys.argv.remove(word)
    launch("search", run)


if __name__ == "__main__":
    main()
