"""The training benchmark: plain loop and Lightning do the same work, every way is measured, waiting is seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch

from lungdet.bench import training as module
from lungdet.bench.drawn.scans import Collection
from lungdet.bench.training_loops import (
    Arithmetic,
    CropsInMemory,
    LightningPath,
    PlainLoop,
    make_task,
)
from lungdet.data.candidate_dataset import RawBatch
from lungdet.losses.classification import CrossEntropy
from lungdet.nets.luna import LunaModel

CPU = torch.device("cpu")
TINY = module.Network("tiny", partial(LunaModel, conv_channels=2), CrossEntropy, (32, 16, 16), 4)


@pytest.mark.parametrize("arithmetic", [Arithmetic(), Arithmetic(bf16=True, channels_last=True)], ids=str)
def test_plain_loop_and_lightning_train_the_same_weights(arithmetic: Arithmetic, tmp_path: Path) -> None:
    loader = module._loader(CropsInMemory(12, TINY.shape_zyx), 4, CPU)
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(TINY.make())
    plain = PlainLoop(nets[0], CrossEntropy(), arithmetic=arithmetic, device=CPU)
    task = make_task(nets[1], CrossEntropy(), arithmetic=arithmetic)
    with module.quiet_lightning():
        seconds, waiting = LightningPath(task, bf16=arithmetic.bf16, device=CPU, folder=tmp_path).epoch(loader)
    assert plain.epoch(loader) > 0
    assert seconds > waiting > 0
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    for name, tensor in plain.net.state_dict().items():
        torch.testing.assert_close(task.net.state_dict()[name], tensor, rtol=0, atol=0)


def test_time_that_is_spent_waiting_for_data_is_seen(tmp_path: Path) -> None:
    class Slow(CropsInMemory):
        def __getitems__(self, draws: Sequence[int]) -> RawBatch:
            time.sleep(0.1)
            return super().__getitems__(draws)

    task = make_task(TINY.make(), CrossEntropy(), arithmetic=Arithmetic())
    loader = module._loader(Slow(12, TINY.shape_zyx), 4, CPU)
    with module.quiet_lightning():
        seconds, waiting = LightningPath(task, bf16=False, device=CPU, folder=tmp_path).epoch(loader)
    assert 0.3 < waiting < seconds


def test_every_way_to_compute_is_measured_and_the_baseline_is_plain() -> None:
    ways = module.ways(True, compiled=False)
    assert [str(way) for way in ways] == [
        "fp32, contiguous",
        "fp32, channels_last",
        "bf16, contiguous",
        "bf16, channels_last",
    ]
    assert len(module.ways(False, compiled=False)) == 2
    assert module.ways(True, compiled=True)[-1].compiled
    rates = module.step_rates(TINY, ways, device=CPU, steps=1, rounds=2)
    assert list(rates) == [str(way) for way in ways]
    assert all(len(found) == 2 and min(found) > 0 for found in rates.values())


def test_the_loops_are_compared_on_the_same_number_of_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SCANS", Collection(1, (24, 40, 40), (1.0, 1.0, 1.0)))
    with module.quiet_lightning():
        lines = module.loop_rows(
            TINY, Arithmetic(channels_last=True), device=CPU, batch_size=4, steps=2, rounds=1, folder=tmp_path
        )
    assert [line.name for line in lines] == [
        module.BARE,
        module.LIGHTNING,
        module.FROM_STORE,
        module.FROM_MEMORY,
        "crops from an lz4 store",
    ]
    loop, waits = lines[:3], lines[3:]
    assert {line.baseline for line in loop} == {module.BARE}
    assert all(line.low > 0 for line in loop)
    assert all(0 < line.median < 100 for line in waits)


def test_the_whole_benchmark_gives_a_row_for_each_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(module, "SCANS", Collection(1, (40, 24, 24), (1.0, 1.0, 1.0)))
    monkeypatch.setattr(module, "LUNA_CLS", TINY)
    monkeypatch.setattr(module, "resolve_precision", lambda *_: "bf16")
    lines = module.measure(quick=True, folder=tmp_path)
    assert [(line.section.split(",")[0], line.ratio > 0) for line in lines] == [
        *[("training step", True)] * 4,
        *[("training loop", True)] * 3,
        *[("time not spent waiting for data", True)] * 2,
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_steps_run_on_a_gpu() -> None:
    ways = module.ways(True, compiled=True)
    rates = module.step_rates(TINY, ways, device=torch.device("cuda"), steps=2, rounds=1)
    assert all(min(found) > 0 for found in rates.values())
