"""Where a training starts: anew, from a checkpoint, or where an interruption left it (`ckpt_path=`)."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lungdet.errors import RunError

if TYPE_CHECKING:
    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

# What may differ between two calls that make the same run: where it starts, and what is only shown.
_NOT_OF_THE_RUN = ("ckpt_path", "callbacks.progress", "trainer.enable_progress_bar", "evaluation")

_SHOWN = 5


def resume_checkpoint(cfg: DictConfig, run: RunDirectory) -> Path | None:
    """The file to go on from, or None to start anew.

    Args:
        cfg: of this call; `ckpt_path` is null, `last`, `auto`, a checkpoint, or a run.
        run: its directory. With `auto`, what an interruption left there without a checkpoint is removed.

    Raises:
        RunError: it is asked for and not there.
    """
    from lungdet.training.run_directory import find_run

    if cfg.ckpt_path is None:
        return None
    if cfg.ckpt_path == "last":
        return run.checkpoint("last")
    if cfg.ckpt_path == "auto":
        last = run.checkpoints / "last.ckpt"
        if last.is_file():
            log.info("%s: going on from %s", run.path, last.name)
            return last
        # Killed in its first epoch: a best.ckpt without the state that belongs to it.
        shutil.rmtree(run.checkpoints, ignore_errors=True)
        return None
    path = Path(cfg.ckpt_path).expanduser()
    if path.is_file():
        return path
    return find_run(cfg.ckpt_path, Path(cfg.paths.runs)).checkpoint("last")


def refuse_another_run(cfg: DictConfig, run: RunDirectory) -> None:
    """Raise if the directory holds a run whose configuration is not that of this call.

    Raises:
        RunError: with the first few differences.
    """
    if not run.config.is_file():
        return
    there = OmegaConf.load(run.config)
    assert isinstance(there, DictConfig)
    differing = differences(there, cfg)
    if differing:
        listed = "; ".join(f"{key} is {a} there, {b} here" for key, a, b in differing[:_SHOWN])
        more = f"; and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise RunError(
            f"{run.path} holds a run of another configuration: {listed}{more}. Give another folder (out= or "
            f"hydra.run.dir=), or remove this one: rm -r {run.path}"
        )


def differences(a: DictConfig, b: DictConfig) -> list[tuple[str, str, str]]:
    """Keys in which two resolved configurations describe different runs, with both values as they are typed.

    A key that one of them lacks counts as null: a run from before there was such a key is the same run.
    """
    from lungdet.comparison.settings import ABSENT, differing_records

    records: list[Any] = [OmegaConf.to_container(cfg, resolve=True) for cfg in (a, b)]
    found = []
    for setting in differing_records(records, ignored=_NOT_OF_THE_RUN):
        first, second = ("null" if value == ABSENT else value for value in setting.values)
        if first != second:
            found.append((setting.key, first, second))
    return found


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
