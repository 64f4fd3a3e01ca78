"""One experiment from objects to files: fit, predict with the best checkpoint, write the tables. Knows no YAML."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytorch_lightning as pl

from lungdet.data.collection_data import CollectionData
from lungdet.data.images import ImageDataModule
from lungdet.errors import RunError
from lungdet.evaluation.predictions import write_predictions
from lungdet.training.baseline import baseline_logits, baseline_of
from lungdet.training.callbacks import PredictionCollector
from lungdet.training.curriculum import prepare_curriculum
from lungdet.training.environment import describe_environment
from lungdet.training.leak_audit import leak_audit
from lungdet.training.pretraining import held_out_but_seen
from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

# predict_dataloader gives these loaders, in this order.
PREDICTED_PARTITIONS = ("val", "test")


@dataclass(frozen=True)
class Experiment:
    """The built parts of a run."""

    datamodule: CollectionData
    task: pl.LightningModule
    trainer: pl.Trainer
    run: RunDirectory
    seed: int

    def fit(self, ckpt_path: Path | None = None) -> None:
        """Train, from the start or on from a checkpoint (`weights_only`: a checkpoint cannot run code)."""
        if self.trainer.is_global_zero:
            self.run.path.mkdir(parents=True, exist_ok=True)
        prepare_curriculum(self.datamodule)
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
            columns = dict(collector.results.get(loader, {"index": np.empty(0, np.int64)}))
            index = columns.pop("index")
            if len(index) != expected:
                raise RunError(f"{len(index)} of {expected} {partition} samples were scored")
            if expected:
                tables.append(self._table(self.datamodule.records.loc[index], columns))
        return pd.concat(tables, ignore_index=True)

    def write_predictions(self, predictions: pd.DataFrame) -> None:
        """Write the model's table; beside it the baseline's on the same rows, or how well readers agree on masks."""
        if self.datamodule.spec.target == "mask":
            from lungdet.data.ct import CtDataModule
            from lungdet.evaluation.mask_predictions import write_mask_predictions
            from lungdet.training.reader_ceiling import reader_ceiling

            assert isinstance(self.datamodule, CtDataModule)

            write_mask_predictions(predictions, self.run.predictions)
            self.run.write_json(self.run.readers, reader_ceiling(self.datamodule))
            return
        write_predictions(predictions, self.run.predictions)
        logit = baseline_logits(self.datamodule, seed=self.seed)
        rows = self.datamodule.records.loc[logit.notna()]
        write_predictions(self._table(rows, {"logit": logit[logit.notna()].to_numpy()}), self.run.baseline)
        if isinstance(self.datamodule, ImageDataModule):
            from lungdet.training.image_baselines import write_frozen_baseline

            write_frozen_baseline(self.datamodule, self.task, run=self.run, fold=self.datamodule.fold)
        clinical = self.datamodule.clinical_features
        if clinical is not None and "image_logit" in predictions:
            from lungdet.training.clinical_baselines import write_clinical_baselines

            write_clinical_baselines(predictions, clinical, records=self.datamodule.records, run=self.run)

    def write_provenance(self, *, checkpoint: Path, cfg_seed: int) -> None:
        """Write split.json, provenance.json and audit.json, and of images the manifest."""
        split = self.datamodule.split_result
        self.run.write_text(self.run.split, split.to_json())
        if isinstance(self.datamodule, ImageDataModule):
            self.datamodule.write_manifest(self.run.manifest)
        monitor = getattr(self.trainer.checkpoint_callback, "monitor", None)
        record: dict[str, Any] = {
            **describe_environment(),
            "seed": cfg_seed,
            "split_hash": split.hash,
            "split_rule": split.rule,
            "fold": split.fold,
            "split_notes": list(split.notes),
            "store_fingerprint": self.datamodule.store_fingerprint,
            "checkpoint": str(checkpoint.relative_to(self.run.path)),
            "checkpoint_chosen_by": f"best {monitor}" if checkpoint.stem.startswith("best") else checkpoint.stem,
            "checkpoint_chosen_on": "val",
            "epochs_trained": self.trainer.current_epoch,
            "best_score": self._best_score,
            "classes": list(self.datamodule.classes),
        }
        origin = {
            "baseline": baseline_of(self.datamodule) if self.datamodule.spec.target == "class" else None,
            "label_rule": self.datamodule.label_rule,
            "initial_weights": getattr(self.task, "init_from", None),
            "frozen": list(getattr(self.task, "frozen", ())),
            **self.datamodule.description,
        }
        record |= {name: value for name, value in origin.items() if value}
        if "initial_weights" in record:
            seen = held_out_but_seen(Path(record["initial_weights"]), split)
            # A resumed run may have outlived the run that it started from.
            before = self.run.read_provenance().get("seen_by_initial_weights")
            record["seen_by_initial_weights"] = before if seen is None else seen
        self.run.write_json(self.run.provenance, record)
        self.run.write_json(self.run.audit, leak_audit(self.datamodule))

    @property
    def _best_score(self) -> float | None:
        score = getattr(self.trainer.checkpoint_callback, "best_model_score", None)
        return None if score is None else float(score)

    def _table(self, records: pd.DataFrame, columns: Mapping[str, npt.NDArray[Any]]) -> pd.DataFrame:
        """Records with the task's answers; arrays of more than one axis become a column of arrays."""
        flat = {name: values if values.ndim == 1 else list(values) for name, values in columns.items()}
        return records.assign(**flat, fold=self.datamodule.fold)
