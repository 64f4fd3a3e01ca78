"""The five checks of `lungdet sanity`, each from a composed configuration and a run to its answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lungdet.errors import RunError

if TYPE_CHECKING:
    import pandas as pd

    from lungdet.data.collection_data import CollectionData
    from lungdet.evaluation.sanity_checks import SanityCheck
    from lungdet.training.run_directory import RunDirectory

# Neither the best epoch nor an early end: validation rows have permuted labels, and nothing may be chosen on them.
_KEEP_THE_LAST = {
    "_target_": "lungdet.training.callbacks.RunCheckpoint",
    "monitor": "val/loss",
    "mode": "min",
    "save_last": True,
}
_OF_MASKS = "The labels are masks; this check is for samples that have a class each."


@dataclasses.dataclass(frozen=True)
class LookedAt:
    """The run whose predictions are looked at.

    Attributes:
        directory: None without a run.
        predictions: of both partitions; None without a run, or where they are of masks.
        reason: why there are none.
    """

    directory: RunDirectory | None
    predictions: pd.DataFrame | None
    reason: str

    @property
    def test(self) -> pd.DataFrame | None:
        """The predictions of the test partition."""
        return None if self.predictions is None else self.predictions[self.predictions["partition"] == "test"]


@dataclasses.dataclass(frozen=True)
class Subject:
    """What the checks are given.

    Attributes:
        cfg: all keys, paths absolute.
        training: the part that a training has, for one device.
        run: the run that is looked at.
        folder: where everything goes.
    """

    cfg: DictConfig
    training: DictConfig
    run: LookedAt
    folder: Path


def as_training(cfg: DictConfig) -> DictConfig:
    """The keys that `lungdet train` has, for one device: nothing is gained from more here."""
    from lungdet.cli.initial_weights import with_initial_weights
    from lungdet.config.training_schema import TrainConfig

    names = {field.name for field in dataclasses.fields(TrainConfig)}
    training = DictConfig({key: value for key, value in cfg.items() if key in names})
    training.trainer.update({"devices": 1, "num_nodes": 1, "strategy": "auto"})
    training.logger = {}
    training.ckpt_path = None
    return with_initial_weights(training, resumed=None)


def find_predictions(run: str | None, runs: Path) -> LookedAt:
    """The run that a person means; without any run, `latest` is none rather than a mistake.

    Raises:
        RunError: another name, and no such run.
    """
    from lungdet.evaluation.mask_predictions import holds_masks
    from lungdet.evaluation.predictions import read_predictions
    from lungdet.training.run_directory import find_run

    if run is None:
        return LookedAt(None, None, "No run is looked at (run=null).")
    try:
        directory = find_run(run, runs, holding="predictions.parquet")
    except RunError as error:
        if run != "latest":
            raise
        return LookedAt(None, None, f"There is no run to look at: {error}.")
    if holds_masks(directory.predictions):
        return LookedAt(directory, None, _OF_MASKS)
    return LookedAt(directory, read_predictions(directory.predictions), "")


def shuffled_labels(subject: Subject) -> SanityCheck:
    """Shuffle the test labels of the run."""
    from lungdet.evaluation.sanity_checks import not_judged
    from lungdet.training.sanity_shuffled import NAME, QUESTION, check_shuffled_labels

    test = subject.run.test
    if test is None:
        return not_judged(NAME, QUESTION, subject.run.reason)
    return check_shuffled_labels(test, n_permutations=subject.cfg.shuffled.n_permutations, **resampling(subject.cfg))


def class_prior(subject: Subject) -> SanityCheck:
    """Compare the run with the share of positives among its training rows."""
    from lungdet.cli.eval import open_data
    from lungdet.evaluation.sanity_checks import not_judged
    from lungdet.training.sanity_prior import NAME, QUESTION, check_class_prior

    if subject.run.predictions is None or subject.run.directory is None:
        return not_judged(NAME, QUESTION, subject.run.reason)
    datamodule, reason = open_data(subject.run.directory)
    if datamodule is None:
        return not_judged(NAME, QUESTION, f"Nobody knows the classes of the training rows: {reason}")
    negatives, positives = datamodule.train_class_counts
    prior = positives / max(1, negatives + positives)
    return check_class_prior(subject.run.predictions, prior=prior, **resampling(subject.cfg))


def shortcut(subject: Subject) -> SanityCheck:
    """Look at the border and the metadata of the composed data's crops or images."""
    from lungdet.evaluation.sanity_checks import not_judged
    from lungdet.training.sanity_shortcut import NAME, QUESTION, check_shortcut

    datamodule = open_composed_data(subject)
    if datamodule.spec.target != "class":
        return not_judged(NAME, QUESTION, _OF_MASKS)
    datamodule.prepare_data()
    datamodule.setup("predict")
    return check_shortcut(datamodule, subject.run.test, no_run_because=subject.run.reason, **resampling(subject.cfg))


def overfit_one_batch(subject: Subject) -> SanityCheck:
    """Let the composed model learn one batch."""
    import pytorch_lightning as pl

    from lungdet.config.build import build
    from lungdet.training.curriculum import prepare_curriculum
    from lungdet.training.sanity_overfit import check_overfit_one_batch

    cfg = subject.training
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = open_composed_data(subject)
    datamodule.prepare_data()
    datamodule.setup("fit")
    prepare_curriculum(datamodule)
    task = build(cfg.model, optim=build(cfg.optim), scheduler=None)
    settings = {
        "max_epochs": 1,
        "accumulate_grad_batches": 1,
        "limit_train_batches": 1.0,
        "limit_val_batches": 0,
        "enable_checkpointing": False,
    }
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return check_overfit_one_batch(
        datamodule,
        task,
        lambda callbacks: build(
            cfg.trainer, callbacks=callbacks, default_root_dir=str(subject.folder), **settings, **quiet
        ),
        steps=subject.cfg.overfit.steps,
        target_loss=subject.cfg.overfit.loss,
        target_dice=subject.cfg.overfit.dice,
    )


def permuted_training(subject: Subject) -> SanityCheck:
    """Train on permuted labels, each time with another permutation and other initial weights.

    The runs hold no config.yaml, so that no other command takes one for a network that knows something.
    """
    from lungdet.cli.train import build_experiment
    from lungdet.data.permuted_labels import permute_before_training
    from lungdet.evaluation.predictions import check_predictions, write_predictions
    from lungdet.evaluation.sanity_checks import not_judged
    from lungdet.training.run_directory import RunDirectory
    from lungdet.training.sanity_permuted import NAME, QUESTION, check_permuted_training

    permuted = subject.cfg.permuted
    seeds = [subject.training.seed + n for n in range(permuted.n_trainings)]
    trainings = []
    for seed in seeds:
        cfg = subject.training.copy()
        cfg.seed, cfg.trainer.max_epochs = seed, permuted.epochs
        cfg.callbacks = {"checkpoint": _KEEP_THE_LAST}
        if "extra_negatives" in cfg.data:  # they are all negative: there is nothing to permute
            cfg.data.extra_negatives = cfg.data.extra_negatives_share = None
        directory = RunDirectory(subject.folder / NAME / f"seed_{seed}")
        experiment = build_experiment(cfg, directory)
        if experiment.datamodule.spec.target != "class":
            return not_judged(NAME, QUESTION, _OF_MASKS)
        permute_before_training(experiment.datamodule, seed=seed)
        experiment.fit()
        predictions = check_predictions(experiment.predict(directory.checkpoint("last")))
        write_predictions(predictions, directory.predictions)
        directory.split.write_text(experiment.datamodule.split_result.to_json())
        trainings.append(predictions)
    return check_permuted_training(trainings, seeds=seeds, epochs=permuted.epochs, **resampling(subject.cfg))


def open_composed_data(subject: Subject) -> CollectionData:
    """The data of the composed configuration, without augmentation."""
    from lungdet.cli.progress import scan_progress
    from lungdet.config.build import build

    cfg = subject.training.copy()
    cfg.data.augment = None
    datamodule: CollectionData = build(cfg.data, split=build(cfg.split), seed=cfg.seed)
    if hasattr(datamodule, "progress"):
        datamodule.progress = scan_progress
    return datamodule


def resampling(cfg: DictConfig) -> dict[str, Any]:
    """How patients are drawn."""
    return {"n_resamples": cfg.evaluation.n_resamples, "seed": cfg.evaluation.seed}


CHECKS: dict[str, Callable[[Subject], SanityCheck]] = {
    "shuffled_labels": shuffled_labels,
    "class_prior": class_prior,
    "shortcut": shortcut,
    "overfit_one_batch": overfit_one_batch,
    "permuted_training": permuted_training,
}
