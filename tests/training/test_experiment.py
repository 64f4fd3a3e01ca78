"""Predictions are complete or refused; the interrupted fit stays interrupted. The whole path is in end_to_end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import RunError
from lungdet.training.callbacks import PredictionCollector
from lungdet.training.experiment import Experiment
from lungdet.training.run_directory import RunDirectory


class DrawnTrainer:
    """Answers `predict` as a Trainer would, with the rows it is told to."""

    is_global_zero = True
    interrupted = False

    def __init__(self, rows: dict[int, list[int]]) -> None:
        self.rows = rows
        self.callbacks: list[Any] = []
        self.arguments: dict[str, Any] = {}

    def predict(self, *_: Any, **arguments: Any) -> None:
        self.arguments = arguments
        (collector,) = self.callbacks
        assert isinstance(collector, PredictionCollector)
        collector.results = {
            loader: {
                "index": np.array(index),
                "logit": (np.array(index) / 2).astype(np.float32),
                "counts": np.arange(2 * len(index)).reshape(-1, 2),
            }
            for loader, index in self.rows.items()
        }

    def fit(self, *_: Any, **arguments: Any) -> None:
        self.arguments = arguments


RECORDS = pd.DataFrame({"candidate_id": range(5), "partition": ["train", "val", "val", "test", "test"]})


def experiment(folder: Path, rows: dict[int, list[int]]) -> tuple[Experiment, DrawnTrainer]:
    trainer = DrawnTrainer(rows)
    datamodule: Any = SimpleNamespace(records=RECORDS, fold=3, sampling=None)
    task: Any = None
    made: Any = trainer
    return Experiment(datamodule, task, made, RunDirectory(folder), seed=0), trainer


def test_rows_and_logits_come_together(tmp_path: Path) -> None:
    parts, trainer = experiment(tmp_path, {0: [1, 2], 1: [3, 4]})
    table = parts.predict(tmp_path / "best.ckpt")
    assert table["candidate_id"].tolist() == [1, 2, 3, 4]
    assert table["logit"].tolist() == [0.5, 1.0, 1.5, 2.0]
    assert table["counts"].map(list).tolist() == [[0, 1], [2, 3], [0, 1], [2, 3]], "arrays stay with their row"
    assert set(table["fold"]) == {3}
    assert trainer.callbacks == [], "the collector is taken out again"
    assert trainer.arguments["weights_only"] is True


@pytest.mark.parametrize(("rows", "message"), [({0: [1], 1: [3, 4]}, "1 of 2 val"), ({0: [1, 2]}, "0 of 2 test")])
def test_a_missing_row_is_an_error(rows: dict[int, list[int]], message: str, tmp_path: Path) -> None:
    parts, trainer = experiment(tmp_path, rows)
    with pytest.raises(RunError, match=f"{message} samples were scored"):
        parts.predict(tmp_path / "best.ckpt")
    assert trainer.callbacks == []


def test_an_interrupted_fit_does_not_go_on_to_predict(tmp_path: Path) -> None:
    parts, trainer = experiment(tmp_path, {})
    parts.fit()
    assert trainer.arguments["weights_only"] is True
    trainer.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        parts.fit(tmp_path / "last.ckpt")
