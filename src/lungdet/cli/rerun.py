"""Repeat a run from its own configuration, and say whether it gives the same predictions, bit for bit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, leave, with_absolute_paths
from lungdet.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

# What of the provenance has to be equal for a repetition to be one.
_SAME_WORLD = ("git_commit", "git_changes_hash", "python", "packages", "hardware", "store_fingerprint", "split_hash")


def run(cfg: DictConfig) -> None:
    """Train again, compare, write rerun.json; ends with exit code 1 where the predictions differ."""
    from pytorch_lightning.utilities import rank_zero_only

    from lungdet.cli.train import train
    from lungdet.config import check_config
    from lungdet.training.run_directory import RunDirectory, find_run

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="rerun")
    first = find_run(cfg.run, Path(cfg.paths.runs), holding="predictions.parquet")
    again = RunDirectory(first.path.with_name(f"{first.path.name}_rerun") if cfg.out is None else Path(cfg.out))
    if again.path.resolve() == first.path.resolve():
        raise RunError(f"out: {again.path} is the run itself; give another folder")
    trained = recorded_configuration(first)
    trained.evaluation = cfg.evaluation
    typed = first.overrides.read_text().split("\n") if first.overrides.is_file() else []
    again.path.mkdir(parents=True, exist_ok=True)
    train(trained, again, typed=[word for word in typed if word])
    rank_zero_only(report)(first, again)


def recorded_configuration(run: RunDirectory) -> DictConfig:
    """The run's config.yaml, to be trained from the start; a repetition that was interrupted goes on.

    Raises:
        RunError: imported weights or merged folds, which were not trained from this configuration.
    """
    trained = OmegaConf.load(run.config)
    assert isinstance(trained, DictConfig)
    if "trainer" not in trained:
        raise RunError(f"{run.path} was not trained here (its config.yaml has no trainer): nothing to repeat")
    if run.read_provenance().get("folds"):
        raise RunError(f"{run.path} merges folds; repeat one of them: run={run.path}/fold0")
    trained.ckpt_path = "auto"
    return trained


def report(first: RunDirectory, again: RunDirectory) -> None:
    """Compare the predictions and the circumstances, write rerun.json, say the result."""
    import pandas as pd

    tables = [pd.read_parquet(run.predictions) for run in (first, again)]
    verdict = compare_tables(*tables)
    circumstances = different_circumstances(first.read_provenance(), again.read_provenance())
    record = {"run": str(first.path), "again": str(again.path), **verdict, "different_circumstances": circumstances}
    again.write_json(again.path / "rerun.json", record)
    for text in circumstances:
        log.info("not as then: %s", text)
    if verdict["identical"]:
        log.info("identical: all %d predictions of %s, bit for bit", verdict["n_rows"], first.path)
        return
    if verdict["n_rows"] != verdict["n_rows_again"]:
        difference = f"{verdict['n_rows']} rows then, {verdict['n_rows_again']} now"
    else:
        difference = f"{verdict['n_different']} of {verdict['n_rows']} rows differ, by up to {verdict['largest']:.3g}"
    reasons = "see 'not as then' above" if circumstances else "nothing else does: not every kernel is deterministic?"
    leave([f"different: {difference}; {reasons}"], code=1)


def compare_tables(first: pd.DataFrame, again: pd.DataFrame) -> dict[str, Any]:
    """Whether two predictions tables hold the same bits, and how far apart they are.

    Returns:
        identical, n_rows, n_rows_again, n_different (rows), largest (absolute difference of any number).
    """
    counts = {"n_rows": len(first), "n_rows_again": len(again)}
    if len(first) != len(again) or list(first.columns) != list(again.columns):
        return {"identical": False, **counts, "n_different": None, "largest": None}
    differs = np.zeros(len(first), np.bool_)
    largest = 0.0
    for name in first.columns:
        a, b = first[name], again[name]
        if not np.issubdtype(np.asarray(a.iloc[0]).dtype if len(a) else np.float64, np.number):
            differs |= (a.astype(str) != b.astype(str)).to_numpy()
            continue
        x, y = (np.stack([np.asarray(v, np.float64).ravel() for v in part]) for part in (a, b))
        apart = ~((x == y) | (np.isnan(x) & np.isnan(y)))
        differs |= apart.any(axis=1)
        largest = max(largest, float(np.abs(x - y)[apart].max(initial=0.0)))
    n = int(differs.sum())
    return {"identical": n == 0, **counts, "n_different": n, "largest": largest}


def different_circumstances(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of code, packages, hardware, store and split is not as it was; one line each."""
    from lungdet.comparison.settings import differing_records

    chosen = [{key: record.get(key) for key in _SAME_WORLD} for record in (then, now)]
    return [f"{s.key}: {s.values[0]} then, {s.values[1]} now" for s in differing_records(chosen)]


def main() -> None:
    """Entry point of `lungdet rerun`."""
    launch("rerun", run)


if __name__ == "__main__":
    main()
