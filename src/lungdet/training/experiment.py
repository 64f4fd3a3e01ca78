"""One experiment from objects to files: fit, predict with the best checkpoint, write the tables. Knows no YAML."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from lungdet.data.ct import CtDataModule
from lungdet.errors import RunError
from lungdet.evaluation.predictions import write_predictions
from lungdet.training.baseline import baseline_logits
from lungdet.training.callbacks import PredictionCollector
from lungdet.training.run_directory import RunDirectory, describe_environment

log = logging.getLogger(__name__)

# predict_dataloader gives these loaders, in this order.
PREDICTED_PARTITIONS = ("val", "test")


@dataclass(frozen=True)
class Experiment:
    """The built parts of a run."""

    datamodule: CtDataModule
    task: pl.LightningModule
    trainer: pl.Trainer
    run: RunDirectory
    seed: int

    def fit(self, ckpt_path: Path | None = None) -> None:
        """Train, from the start or on from a checkpoint (`weights_only`: a checkpoint cannot run code)."""
        if self.trainer.is_global_zero:
            self.run.path.mkdir(parents=True, exist_ok=True)
        self.trainer.fit(self.task, datamodule=self.datamodule, ckpt_path=ckpt_path, weights_only=True)
        if self.trainer.interrupted:
            raise KeyboardInterrupt

    def predict(self, checkpoint: Path) -> pd.DataFrame:
        """The predictions table of the validation and test partitions, the same on every rank.

        Args:
            checkpoint: the file whose weights score.
        """
        collector = PredictionCollector()
        self.trainer.callbacks.append(collector)  # type: ignore[attr-defined]
        try:
            self.trainer.predict(
                self.task,
                datamodule=self.datamodule,
                ckpt_path=checkpoint,
                return_predictions=False,
                weights_only=True,
            )
        finally:
            self.trainer.callbacks.remove(collector)  # type: ignore[attr-defined]
        tables = []
        for loader, partition in enumerate(PREDICTED_PARTITIONS):
            expected = int((self.datamodule.records["partition"] == partition).sum())
            index, logit = collector.results.get(loader, ([], []))
            if len(index) != expected:
                raise RunError(f"{len(index)} of {expected} {partition} candidates were scored")
            if expected:
                tables.append(self._table(self.datamodule.records.loc[index], logit))
        return pd.concat(tables, ignore_index=True)

    def write_predictions(self, predictions: pd.DataFrame) -> None:
        """Write the model's table and, on the same rows, the baseline's."""
        write_predictions(predictions, self.run.predictions)
        logit = baseline_logits(self.datamodule, seed=self.seed)
        rows = self.datamodule.records.loc[logit.notna()]
        write_predictions(self._table(rows, logit[logit.notna()].to_numpy()), self.run.baseline)

    def write_provenance(self, *, checkpoint: Path, cfg_seed: int) -> None:
        """Write split.json and provenance.json."""
        split = self.datamodule.split_result
        self.run.split.write_text(split.to_json())
        monitor = getattr(self.trainer.checkpoint_callback, "monitor", None)
        record: dict[str, Any] = {
            **describe_environment(),
            "seed": cfg_seed,
            "split_hash": split.hash,
            "split_rule": split.rule,
            "fold": split.fold,
            "store_fingerprint": self.datamodule.store_fingerprint,
            "checkpoint": str(checkpoint.relative_to(self.run.path)),
            "checkpoint_chosen_by": f"best {monitor}" if checkpoint.stem.startswith("best") else checkpoint.stem,
            "checkpoint_chosen_on": "val",
            "epochs_trained": self.trainer.current_epoch,
        }
        self.run.write_json(self.run.provenance, record)

    def _table(self, records: pd.DataFrame, logit: Any) -> pd.DataFrame:
        return records.assign(logit=logit, fold=self.datamodule.fold)
