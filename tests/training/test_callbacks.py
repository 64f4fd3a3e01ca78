"""Checkpoints in the run directory, an unbroken history, predictions gathered over processes without repeats."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.multiprocessing.spawn import start_processes
from torch.utils.data import DataLoader

from lungdet.training.callbacks import History, PredictionCollector, RunCheckpoint


def trainer_in(folder: Path, *callbacks: pl.Callback, epochs: int = 3, validate_every: int = 1) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=validate_every,
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_best_and_last_lie_in_the_run(tmp_path: Path, tiny_task: Any, tiny_loader: DataLoader[Any]) -> None:
    checkpoint = RunCheckpoint()
    trainer_in(tmp_path, checkpoint).fit(tiny_task, tiny_loader, tiny_loader)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert checkpoint.best_model_score == pytest.approx(0.52)


def test_history_has_a_complete_row_an_epoch(
    tmp_path: Path, tiny_task: Any, tiny_loader: DataLoader[Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        trainer_in(tmp_path, History()).fit(tiny_task, tiny_loader, tiny_loader)
    rows = rows_of(tmp_path)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["val/auroc"]) for row in rows] == pytest.approx([0.5, 0.51, 0.52])
    assert [float(row["samples_seen"]) for row in rows] == [16, 32, 48]
    assert float(rows[2]["train/loss"]) < float(rows[0]["train/loss"])
    assert "epoch 3/3: train/loss" in caplog.text


def test_a_resumed_run_keeps_one_history(tmp_path: Path, tiny_task: Any, tiny_loader: DataLoader[Any]) -> None:
    trainer_in(tmp_path / "a", RunCheckpoint(), History(), epochs=2).fit(tiny_task, tiny_loader, tiny_loader)
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    trainer = trainer_in(tmp_path / "b", RunCheckpoint(), History(), epochs=3)
    trainer.fit(tiny_task, tiny_loader, tiny_loader, ckpt_path=last, weights_only=True)
    rows = rows_of(tmp_path / "b")
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert all(row["train/loss"] and row["val/auroc"] for row in rows)


# Lightning's checkpoint says so of each epoch before the first validation.
@pytest.mark.filterwarnings("ignore:.*could not find the monitored key")
def test_an_epoch_that_was_not_validated_has_no_numbers_of_another(
    tmp_path: Path, tiny_task: Any, tiny_loader: DataLoader[Any]
) -> None:
    first = trainer_in(tmp_path / "a", RunCheckpoint(), History(), epochs=2, validate_every=2)
    first.fit(tiny_task, tiny_loader, tiny_loader)
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    resumed = trainer_in(tmp_path / "b", RunCheckpoint(), History(), epochs=4, validate_every=2)
    resumed.fit(tiny_task, tiny_loader, tiny_loader, ckpt_path=last, weights_only=True)
    assert [bool(row["val/auroc"]) for row in rows_of(tmp_path / "b")] == [False, True, False, True]
    trainer_in(tmp_path / "c", History(), epochs=3, validate_every=2).fit(tiny_task, tiny_loader, tiny_loader)
    assert [bool(row["val/auroc"]) for row in rows_of(tmp_path / "c")] == [False, True, False]


def test_a_metric_without_data_is_an_empty_cell(tmp_path: Path, tiny_task: Any) -> None:
    history = History()
    history.rows = [{"epoch": 0, "val/auroc": float("nan")}, {"epoch": 1, "val/auroc": 0.5}]
    history._write(tmp_path / "history.csv")
    assert [row["val/auroc"] for row in rows_of(tmp_path)] == ["", "0.5"]


def test_predictions_of_several_loaders_are_sorted_and_unique(
    tmp_path: Path, tiny_task: Any, tiny_loader: DataLoader[Any]
) -> None:
    collector = PredictionCollector()
    trainer = trainer_in(tmp_path, collector)
    other = DataLoader(torch.utils.data.Subset(tiny_loader.dataset, [5, 3, 3, 9]), batch_size=3)
    trainer.predict(tiny_task, [tiny_loader, other], return_predictions=False)
    index, logit = (collector.results[1][name] for name in ("index", "logit"))
    assert index.tolist() == [3, 5, 9]
    assert logit.tolist() == [6 / 16, 10 / 16, 18 / 16]
    assert logit.dtype == np.float32
    assert collector.results[0]["index"].tolist() == list(range(16))


def gather(rank: int, folder: str) -> None:
    """Each of two processes holds its own rows and one that the sampler repeated."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    collector = PredictionCollector()
    rows = torch.tensor([0, 2, 4] if rank == 0 else [1, 3, 0])
    collector.on_predict_batch_end(None, None, {"index": rows, "logit": rows * 0.5}, None, 0, 0)  # type: ignore[arg-type]
    if rank == 0:  # a loader that only one process has rows of
        collector.on_predict_batch_end(None, None, {"index": rows, "logit": rows * 2.0}, None, 0, 1)  # type: ignore[arg-type]
    collector.on_predict_epoch_end(None, None)  # type: ignore[arg-type]
    np.savez(f"{folder}/{rank}.npz", index=collector.results[0]["index"], logit=collector.results[0]["logit"])
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_gather_every_row_once(tmp_path: Path) -> None:
    context = start_processes(gather, (str(tmp_path),), nprocs=2, join=False)  # type: ignore[no-untyped-call]
    for _ in range(120):
        if context.join(timeout=1):
            break
    else:
        for process in context.processes:
            process.kill()
        pytest.fail("the two processes wait for each other")
    for rank in (0, 1):
        found = np.load(tmp_path / f"{rank}.npz")
        assert found["index"].tolist() == [0, 1, 2, 3, 4]
        assert found["logit"].tolist() == [0, 0.5, 1, 1.5, 2]
