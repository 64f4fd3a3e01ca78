"""The same results whatever happens on the way: two processes, kill -9 at any moment, early stopping before it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lungdet.evaluation.predictions import read_predictions

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

TRAIN = Path(__file__).parents[2] / "src" / "lungdet" / "cli" / "train.py"

Command = Callable[..., None]
Train = Callable[..., Path]


def weights(run: Path, which: str = "last") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / f"{which}.ckpt", weights_only=True)["state_dict"]
    return state


def history(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "history.csv").drop(columns="seconds")


def test_one_and_two_processes_train_alike(
    workplace: Path, lungdet_process: Command, train: Train, tiny_training: tuple[str, ...]
) -> None:
    """The same global batches, augmentations and batch-norm statistics: only the order of sums differs."""
    two = workplace / "runs" / "two"
    one = train("one", "trainer.max_epochs=2")
    lungdet_process("train", *tiny_training, "trainer.max_epochs=2", "trainer.devices=2", f"hydra.run.dir={two}")
    expected, found = weights(one), weights(two)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5, msg=name)
    a, b = read_predictions(one / "predictions.parquet"), read_predictions(two / "predictions.parquet")
    assert a["candidate_id"].equals(b["candidate_id"])
    np.testing.assert_allclose(a["logit"], b["logit"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history(one), history(two), rtol=1e-3, atol=1e-4)


def same(expected: Path, found: Path) -> None:
    """Predictions and history of two runs are the same bits, and so are the weights that were chosen."""
    pd.testing.assert_frame_equal(history(expected), history(found), check_exact=True)
    for which in ("best", "last"):
        a, b = weights(expected, which), weights(found, which)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a), which
    assert (expected / "predictions.parquet").read_bytes() == (found / "predictions.parquet").read_bytes()
    assert (expected / "report.json").exists()
    assert (found / "report.json").exists()


def test_killed_at_random_moments_it_ends_with_the_same_bits(
    workplace: Path, train: Train, tiny_training: tuple[str, ...]
) -> None:
    """Kill -9 in three moments: after a random number of epochs has been written, and a random while into the next."""
    settings = ("trainer.max_epochs=5", "optim=adamw", "scheduler=cosine")
    whole = train("unkilled", *settings)
    killed = workplace / "runs" / "killed"
    command = [
        sys.executable, str(TRAIN), f"paths.root={workplace}", *tiny_training, *settings, "ckpt_path=auto",
        f"hydra.run.dir={killed}",
    ]  # fmt: skip
    moments = random.Random(7)
    for epochs_before in (0, 1, 3):
        with subprocess.Popen(command, cwd=workplace, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            wait_for_epochs(killed, epochs_before, process)
            time.sleep(moments.uniform(0.0, 0.6))
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, "it must not have finished before"
    done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    same(whole, killed)
    again = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=300, check=False)
    assert "finished before" in again.stdout + again.stderr


def wait_for_epochs(run: Path, n: int, process: subprocess.Popen[bytes]) -> None:
    """Until the history has n rows (0: until training is about to start)."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, (process.stderr.read() if process.stderr else b"").decode()[-2000:]
        rows = len(pd.read_csv(run / "history.csv")) if (run / "history.csv").exists() else 0
        if rows >= n and (run / "environment.txt").exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"no {n} epochs after two minutes")


def test_a_run_that_had_stopped_early_trains_no_further_epoch(train: Train) -> None:
    settings = ("trainer.max_epochs=8", "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=0.5")
    stopped = train("stopped", *settings)
    rows = len(history(stopped))
    assert rows < 8, "patience of one epoch, and no epoch is better by 0.5"
    before = {name: (stopped / name).read_bytes() for name in ("history.csv", "predictions.parquet")}
    # Killed behind the last epoch, before anything was predicted.
    for name in ("predictions.parquet", "report.json", "report.html", "provenance.json"):
        (stopped / name).unlink()
    train("stopped", *settings, "ckpt_path=auto")
    assert len(history(stopped)) == rows
    assert (stopped / "predictions.parquet").read_bytes() == before["predictions.parquet"]


def test_a_finished_run_is_left_alone_and_another_one_refused(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("trainer.max_epochs=1", "ckpt_path=auto")
    run = train("left-alone", *settings)
    written = (run / "predictions.parquet").stat().st_mtime_ns
    train("left-alone", *settings, "trainer.enable_progress_bar=true")
    assert (run / "predictions.parquet").stat().st_mtime_ns == written
    with pytest.raises(SystemExit):
        train("left-alone", *settings, "optim.lr=0.5")
    message = capsys.readouterr().err
    assert "holds a run of another configuration: optim.lr is 0.0003 there, 0.5 here" in message
    assert (run / "predictions.parquet").stat().st_mtime_ns == written
