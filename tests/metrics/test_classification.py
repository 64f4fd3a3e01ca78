from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor

from lungdet.metrics.classification import BinaryRanking, LossAndAccuracy

# Two gloo processes, forked after the slow imports and before any thread exists. Rank 0 has rows 0..59, rank 1 the
# rest and repeats some of rank 0's rows, as a padding sampler does; in the second round rank 1 has nothing at all.
WORKER = """
import json, os, sys, warnings
import torch, torch.distributed as dist
from datetime import timedelta
from lungdet.metrics.classification import BinaryRanking, LossAndAccuracy

folder = sys.argv[1]
child = os.fork()
rank = 0 if child else 1
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2,
                        timeout=timedelta(seconds=60))
data = torch.load(f"{folder}/rows.pt", weights_only=True)
n = len(data["label"])
results = []
for shards in ([range(0, 60), [*range(60, n), *range(0, 7)]], [range(n), []]):
    ranking, accuracy = BinaryRanking(), LossAndAccuracy()
    for batch in torch.tensor(list(shards[rank]), dtype=torch.int64).split(16):
        if len(batch):
            logit, label = data["logit"][batch], data["label"][batch]
            ranking.update(logit, label, batch)
            accuracy.update(data["loss"][batch], logit, label, batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics says that the empty process never called update
        results.append({k: v.item() for k, v in {**ranking.compute(), **accuracy.compute()}.items()})
json.dump(results, open(f"{folder}/{rank}.json", "w"))
dist.destroy_process_group()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def rows() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (101,), generator=generator)
    logit = torch.randn(101, generator=generator) + label - 0.3
    logit[:4] = 0.0  # ties, and the threshold itself
    return {"label": label, "logit": logit, "loss": torch.rand(101, generator=generator)}


def floats(values: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in values.items()}


def fill(rows: dict[str, Tensor], index: Tensor | None) -> dict[str, float]:
    ranking, accuracy = BinaryRanking(), LossAndAccuracy()
    for start in range(0, len(rows["label"]), 16):
        part = slice(start, start + 16)
        named = None if index is None else index[part]
        ranking.update(rows["logit"][part], rows["label"][part], named)
        accuracy.update(rows["loss"][part], rows["logit"][part], rows["label"][part], named)
    return floats(ranking.compute()) | floats(accuracy.compute())


def test_equals_scikit_learn_and_hand_means(rows: dict[str, Tensor]) -> None:
    ours = fill(rows, None)
    label, logit = rows["label"].numpy(), rows["logit"].numpy().astype(np.float64)
    called = logit >= 0
    expected = {
        "auroc": sk.roc_auc_score(label, logit),
        "average_precision": sk.average_precision_score(label, logit),
        "precision": sk.precision_score(label, called),
        "recall": sk.recall_score(label, called),
        "f1": sk.f1_score(label, called),
        "percent_correct": 100 * sk.accuracy_score(label, called),
        "percent_correct_positive": 100 * sk.recall_score(label, called),
        "percent_correct_negative": 100 * sk.recall_score(1 - label, ~called),
        "loss": rows["loss"].mean().item(),
        "loss_positive": rows["loss"][rows["label"] == 1].mean().item(),
        "loss_negative": rows["loss"][rows["label"] == 0].mean().item(),
    }
    assert ours == pytest.approx(expected, rel=1e-6)


def test_an_index_counts_once_and_no_index_counts_always(rows: dict[str, Tensor]) -> None:
    once = fill(rows, torch.arange(101))
    twice = {name: torch.cat([values, values[:30]]) for name, values in rows.items()}
    assert fill(twice, torch.cat([torch.arange(101), torch.arange(30)])) == once
    assert fill(twice, None)["loss"] == pytest.approx(twice["loss"].mean().item(), rel=1e-6)
    assert fill(twice, None)["loss"] != once["loss"]


@pytest.mark.slow  # the processes import torch a second time
def test_two_processes_give_the_single_process_result(rows: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(rows, tmp_path / "rows.pt")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], env=environment, start_new_session=True)
    try:
        assert process.wait(timeout=120) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    expected = fill(rows, torch.arange(101))
    for rank in (0, 1):
        for result in json.loads((tmp_path / f"{rank}.json").read_text()):
            assert result == expected


def test_half_precision_and_gradients_do_not_reach_the_state() -> None:
    metric = LossAndAccuracy()
    loss = torch.tensor([1.0, 3.0], requires_grad=True)
    metric.update(loss, torch.tensor([1.0, -1.0], dtype=torch.bfloat16), torch.tensor([1, 1], dtype=torch.int32))
    assert not metric.values[0].requires_grad
    assert floats(metric.compute())["loss"] == 2.0


def test_names_follow_the_classes_and_a_missing_class_is_nan() -> None:
    metric = LossAndAccuracy(("non_nodule", "nodule"))
    metric.update(torch.tensor([0.5]), torch.tensor([-2.0]), torch.tensor([0]))
    values = floats(metric.compute())
    assert list(values) == [
        "loss",
        "loss_non_nodule",
        "loss_nodule",
        "percent_correct",
        "percent_correct_non_nodule",
        "percent_correct_nodule",
    ]
    assert values["percent_correct"] == values["percent_correct_non_nodule"] == 100
    assert math.isnan(values["loss_nodule"])
    assert math.isnan(values["percent_correct_nodule"])


@pytest.mark.parametrize(
    ("label", "logit", "expected"),
    [
        ([1, 0], [-1.0, -2.0], {"auroc": 1, "average_precision": 1, "precision": math.nan, "recall": 0, "f1": 0}),
        ([0, 0], [-1.0, -2.0], dict.fromkeys(("auroc", "average_precision", "precision", "recall", "f1"), math.nan)),
        ([0, 0], [1.0, -2.0], {"auroc": math.nan, "precision": 0, "recall": math.nan, "f1": 0}),
        ([1, 1], [1.0, -2.0], {"auroc": math.nan, "average_precision": 1, "precision": 1, "recall": 0.5, "f1": 2 / 3}),
        ([1, 0], [math.nan, 1.0], dict.fromkeys(("auroc", "average_precision", "precision", "f1"), math.nan)),
    ],
)
def test_what_has_no_answer_is_nan(label: list[int], logit: list[float], expected: dict[str, float]) -> None:
    metric = BinaryRanking()
    metric.update(torch.tensor(logit), torch.tensor(label))
    values = floats(metric.compute())
    assert {name: values[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_a_diverged_loss_is_not_reported_as_correct() -> None:
    metric = LossAndAccuracy()
    metric.update(torch.tensor([math.nan, 1.0]), torch.tensor([math.nan, -1.0]), torch.tensor([0, 0]))
    assert math.isnan(floats(metric.compute())["percent_correct"])


def test_before_any_update_everything_is_nan() -> None:
    for metric in (BinaryRanking(), LossAndAccuracy()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchmetrics' own remark about it
            assert all(math.isnan(value) for value in floats(metric.compute()).values())


def test_reset_forgets_and_states_stay_out_of_checkpoints(rows: dict[str, Tensor]) -> None:
    metric = BinaryRanking()
    metric.update(rows["logit"], rows["label"])
    assert metric.state_dict() == {}
    metric.reset()
    metric.update(torch.tensor([1.0, -1.0]), torch.tensor([1, 0]))
    assert floats(metric.compute())["auroc"] == 1.0


def test_update_does_not_wait_for_the_device(rows: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    def waits(self: Tensor, *args: object) -> None:
        raise AssertionError("update read a value from the device")

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, waits)
    BinaryRanking().update(rows["logit"], rows["label"])
    LossAndAccuracy().update(rows["loss"], rows["logit"], rows["label"], rows["label"])


def test_a_process_without_samples_gathers_rows_of_the_right_type() -> None:
    gathered: list[Tensor] = []

    def gather(state: Tensor, group: object) -> list[Tensor]:
        gathered.append(state)
        return [state, state]

    LossAndAccuracy().sync(dist_sync_fn=gather, distributed_available=lambda: True)
    assert [(tuple(state.shape), state.dtype) for state in gathered] == [
        ((0, 2), torch.int64),
        ((0, 2), torch.float32),
    ]
