"""A trained classifier as `lungdet explain` needs it: its network, its data, and its predictions row by row."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from lungdet.errors import ConfigError, RunError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    import torch
    from torch import Tensor, nn

    from lungdet.data.collection_data import CollectionData
    from lungdet.explain.fill_rules import FillData
    from lungdet.explanations.study import Case
    from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

_CENTERS = ["center_x_mm", "center_y_mm", "center_z_mm"]
_FILL_BATCH = 32


@dataclass(frozen=True)
class ExplainedRun:
    """What is explained.

    Attributes:
        directory: of the run.
        datamodule: its data, set up, with the split that it was trained on.
        network: what answers for an image, in evaluation mode on `device`, over all views of its predictions.
        single: the module of it that looks once; None where it is the network.
        device: where images go.
        predictions: its predictions table with a new column `row`, the row of the datamodule's records.
        has_features: whether the run's answers also depend on clinical features, which the network does not see.
        facts: what a page has to say of its origin.
    """

    directory: RunDirectory
    datamodule: CollectionData
    network: nn.Module
    single: nn.Module | None
    device: torch.device
    predictions: pd.DataFrame
    has_features: bool
    facts: dict[str, Any]

    def case(self, row: int) -> Case:
        """One row of the records, ready to be explained; of a positive, with the nodules that make it one."""
        from lungdet.explanations.study import Case

        batch = self.datamodule.evaluation_batch(np.array([row], np.int64))
        label = int(batch["label"][0])
        return Case(row, batch["image"][0].to(self.device), label, self.target(row) if label == 1 else None)

    def target(self, row: int) -> npt.NDArray[np.bool_] | None:
        """Where the annotated nodules of a CT crop lie; None for images, and where a collection has no annotations."""
        from lungdet.data.ct import CtDataModule
        from lungdet.explanations.spheres import spheres_in_crop

        if not isinstance(self.datamodule, CtDataModule):
            return None
        record = self.datamodule.records.iloc[row]
        table = self.datamodule.collection.annotations
        near = table[table["series_uid"] == record["series_uid"]]
        return spheres_in_crop(
            self.datamodule.store.geometry(str(record["series_uid"])),
            record[_CENTERS].to_numpy(np.float64),
            self.datamodule.spec.shape,
            centers_xyz_mm=near[_CENTERS].to_numpy(np.float64),
            diameters_mm=near["diameter_mm"].to_numpy(np.float64),
        )

    def fill_data(self) -> FillData:
        """What fills may ask of the training images."""
        from lungdet.data.ct import CtDataModule
        from lungdet.explain.fill_rules import FillData

        if isinstance(self.datamodule, CtDataModule):
            window = self.datamodule.window
            return FillData(self._training_batches, window.range_hu, window.scale)
        return FillData(self._training_batches)

    def _training_batches(self, n_images: int, seed: int) -> Iterator[Tensor]:
        rows = np.flatnonzero(self.datamodule.records["partition"].to_numpy() == "train")
        chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:n_images])
        for first in range(0, len(chosen), _FILL_BATCH):
            yield self.datamodule.evaluation_batch(chosen[first : first + _FILL_BATCH])["image"]


def open_explained(run_directory: RunDirectory, checkpoint: Path, *, device: str) -> ExplainedRun:
    """Open a run with the configuration it was trained with.

    Args:
        run_directory: of a classifier.
        checkpoint: whose weights are loaded.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        RunError: not a classifier, without data of its own, other patients now, or no predictions.
        ConfigError: its store is gone.
    """
    import torch

    from lungdet.config.build import build
    from lungdet.data.partitions import Split
    from lungdet.evaluation.predictions import read_predictions

    trained = OmegaConf.load(run_directory.config)
    assert isinstance(trained, DictConfig)
    if "ensemble" in trained:
        members = ", ".join(trained.ensemble.members)
        raise RunError(f"{run_directory.path} averages several runs; explain one of them: {members}")
    if "split" not in trained:
        raise RunError(f"{run_directory.path} has no images of its own to explain; give a run of lungdet train")
    datamodule: CollectionData = build(trained.data, split=build(trained.split), seed=trained.seed)
    if datamodule.spec.target != "class":
        raise RunError(
            f"{run_directory.path} segments: its output is a picture already, and no single answer could be explained; "
            "give the run of a classifier"
        )
    problems = datamodule.store_problems()
    if problems:
        raise ConfigError([f"data: {text}" for text in problems])
    datamodule.setup("predict")
    if Split.from_json(run_directory.split.read_text()).hash != datamodule.split_result.hash:
        raise RunError(
            f"{run_directory.path} was trained on other patients than its configuration gives now: files of the "
            "collection changed since, and images to explain could be training images; train again"
        )
    use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    target_device = torch.device("cuda" if use_cuda else "cpu")
    network, single, has_features = load_image_network(trained, checkpoint)
    provenance = run_directory.read_provenance()
    return ExplainedRun(
        directory=run_directory,
        datamodule=datamodule,
        network=network.to(target_device),
        single=single,
        device=target_device,
        predictions=with_rows(read_predictions(run_directory.predictions), datamodule.records),
        has_features=has_features,
        facts={
            "run": run_directory.path.name,
            "checkpoint": checkpoint.name,
            "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
            "split_rule": datamodule.split_result.rule,
            "split_hash": datamodule.split_result.hash,
            "store_fingerprint": datamodule.store_fingerprint,
            "git_commit": provenance.get("git_commit"),
        },
    )


def load_image_network(trained: DictConfig, checkpoint: Path) -> tuple[nn.Module, nn.Module | None, bool]:
    """`network`, `single` and `has_features` of an `ExplainedRun`."""
    import torch

    from lungdet.config.build import build
    from lungdet.pipeline.inference import prepare_network

    task = build(trained.model, optim=None, scheduler=None)
    prefix = "net."
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    try:
        task.net.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise RunError(f"{checkpoint} does not fit the network of config.yaml beside it: {error}") from error
    net, has_features = prepare_network(task.net, "run's"), bool(getattr(task, "takes_features", False))
    average = getattr(task, "view_average", None)
    if average is None or (average.views, average.center_crop) == ("one", 1.0):
        return net, None, has_features
    return average.eval(), net, has_features


def with_rows(predictions: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """The predictions table with `row`, the row of the records that each prediction is of.

    Raises:
        RunError: predictions of images that the data do not have.
    """
    key = ["partition", "series_uid", "candidate_id"]
    numbered = records[key].assign(row=np.arange(len(records)))
    merged = predictions.merge(numbered, on=key, how="left", validate="one_to_one")
    if merged["row"].isna().any():
        first = merged[merged["row"].isna()].iloc[0]
        raise RunError(
            f"predictions.parquet has {int(merged['row'].isna().sum())} rows that the run's data do not have now, the "
            f"first is {first['series_uid']} ({first['partition']}); score again: lungdet predict run=<this run>"
        )
    return merged.astype({"row": np.int64})
