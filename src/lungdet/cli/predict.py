"""Score with a run's checkpoint: its own validation and test rows again, any list of points, or image files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

# What a network was trained on: taken from the run, whatever collection is scored.
INPUT_CONTRACT = ("crop", "window", "store", "samples")


def run(cfg: DictConfig) -> None:
    """Score, then write the table.

    Raises:
        ConfigError: a collection without candidates to score, candidates without a collection they lie in, or both
            candidates and images.
    """
    from lungdet.cli.image_prediction import score_images
    from lungdet.config import check_config
    from lungdet.exports.load import is_exported
    from lungdet.training.run_directory import find_run

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="predict")
    if cfg.images is not None:
        score_images(cfg)
        return
    if is_exported(Path(cfg.run)):
        raise ConfigError(
            [f"images: an exported file has no rows of its own; add images=<folder or list> to run={cfg.run}"]
        )
    run_directory = find_run(cfg.run, Path(cfg.paths.runs))
    if run_directory.members.is_file():
        raise ConfigError([f"images: {run_directory.path.name} is an ensemble, its rows are scored; add images=..."])
    trained = OmegaConf.load(run_directory.config)
    assert isinstance(trained, DictConfig)
    if cfg.candidates is None:
        if cfg.get("data") is not None:
            raise ConfigError(["candidates: data=... without a list of points; add candidates=[a.csv,...]"])
        score_own(cfg, trained, run_directory)
    else:
        score_points(cfg, trained, run_directory)


def score_own(cfg: DictConfig, trained: DictConfig, run_directory: RunDirectory) -> None:
    """Score the run's validation and test candidates again, with the trainer of this call, and evaluate them."""
    from lungdet.cli.eval import evaluate_run
    from lungdet.cli.train import build_experiment

    if "split" not in trained:
        raise ConfigError([f"run: {run_directory.path} has no candidates of its own; add data=... candidates=[a.csv]"])
    here = DictConfig({**trained, "trainer": cfg.trainer, "callbacks": {}, "logger": {}})
    experiment = build_experiment(here, run_directory)
    checkpoint = run_directory.checkpoint(cfg.checkpoint).resolve()
    predictions = experiment.predict(checkpoint)
    if experiment.trainer.is_global_zero:
        experiment.write_predictions(predictions)
        inside = checkpoint.is_relative_to(run_directory.path)
        name = str(checkpoint.relative_to(run_directory.path) if inside else checkpoint)
        evaluate_run(run_directory, cfg.evaluation, datamodule=experiment.datamodule, checkpoint=name)


def score_points(cfg: DictConfig, trained: DictConfig, run_directory: RunDirectory) -> None:
    """Score every point of the CSV files that lies in a scan of the store; highest probability first."""
    from lungdet.config.build import build
    from lungdet.training.callbacks import PredictionCollector

    if "crop" not in trained.data:
        raise ConfigError([f"candidates: {run_directory.path.name} was not trained on CT; add images=<folder> instead"])
    files = [cfg.candidates] if isinstance(cfg.candidates, str) else list(cfg.candidates)
    data = trained.data
    if cfg.get("data") is not None:
        data = DictConfig({**cfg.data, **{key: trained.data[key] for key in INPUT_CONTRACT}})
    if "_target_" not in data:
        raise ConfigError([f"data: {run_directory.path} has no collection of its own; add data=luna16 data.root=..."])
    datamodule = build(data)
    problems = datamodule.store_problems()
    if problems:
        raise ConfigError([f"data: {text}" for text in problems])
    datamodule.score_points(read_points(files))
    task = build(trained.model, optim=None, scheduler=None)
    collector = PredictionCollector()
    trainer = build(cfg.trainer, callbacks=[collector], logger=False, enable_checkpointing=False)
    checkpoint = run_directory.checkpoint(cfg.checkpoint)
    trainer.predict(task, datamodule=datamodule, ckpt_path=checkpoint, return_predictions=False, weights_only=True)
    if trainer.is_global_zero:
        scored = collector.results[0]
        write_points(datamodule.records.loc[scored["index"]].assign(logit=scored["logit"]), cfg.out)


def read_points(files: list[str]) -> pd.DataFrame:
    """All points of several CSV files, with the file each came from."""
    import pandas as pd

    from lungdet.io import luna16_tables

    tables = [luna16_tables.read_points(f).assign(source=Path(f).name) for f in files]
    return pd.concat(tables, ignore_index=True)


def write_points(points: Any, out: str | None) -> None:
    """Write the scored list in the challenge's submission format, or log the highest twenty."""
    import scipy.special

    points = points.assign(probability=scipy.special.expit(points["logit"].astype("float64")))
    points = points.sort_values("probability", ascending=False, kind="stable")
    table = points.rename(
        columns={"series_uid": "seriesuid", "center_x_mm": "coordX", "center_y_mm": "coordY", "center_z_mm": "coordZ"}
    )[["seriesuid", "coordX", "coordY", "coordZ", "probability", "logit", "source"]]
    if out is None:
        shown = table.head(20).assign(seriesuid="..." + table["seriesuid"].str[-8:])
        log.info("%d points scored; the highest:\n%s", len(table), shown.to_string(index=False))
        return
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    log.info("%d points scored: %s", len(table), out)


def main() -> None:
    """Entry point of `lungdet predict`."""
    launch("predict", run)


if __name__ == "__main__":
    main()
