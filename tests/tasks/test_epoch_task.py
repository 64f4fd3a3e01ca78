from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lungdet.errors import ConfigError
from lungdet.nets.synced_batch_norm import SyncedBatchNorm
from lungdet.tasks.epoch_task import EpochTask, seed_random_layers


def make_task(net: nn.Module | None = None, *, channels_last: bool = True) -> EpochTask:
    return EpochTask(
        net=net or nn.Conv3d(1, 2, 3),
        loss=nn.Identity(),
        optim=None,
        scheduler=None,
        channels_last=channels_last,
        compile=False,
    )


def draws(*, seed: int = 0, epoch: int = 0, batch: int = 0, rank: int = 0) -> float:
    """What a random layer would draw in this step, whatever was drawn before."""
    task = make_task()
    torch.manual_seed(seed)
    task._trainer = cast(Any, SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=1))
    task.setup("fit")
    torch.rand(7)
    task.on_train_batch_start(None, batch)
    return torch.rand(()).item()


def test_random_numbers_of_a_step_depend_on_seed_epoch_batch_and_process_only() -> None:
    assert draws() == draws()
    assert len({draws(), draws(seed=1), draws(epoch=1), draws(batch=1), draws(rank=1)}) == 5


def test_layers_draw_what_they_draw_after_torch_manual_seed() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    seed_random_layers(7, torch.device("cpu"))
    assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_keeps_the_seed_and_one_without_it_still_loads(tmp_path: Path) -> None:
    task, checkpoint = make_task(), dict[str, Any]()
    task._trainer = cast(Any, SimpleNamespace(world_size=1))
    torch.manual_seed(5)
    task.setup("fit")
    task.on_save_checkpoint(checkpoint)
    assert checkpoint == {"random_layers_seed": 5, "unstepped_metric": None}
    other = make_task()
    other.on_load_checkpoint({})
    assert other._seed == 0
    other.on_load_checkpoint(checkpoint)
    assert other._seed == 5


def test_several_processes_share_the_statistics_of_batch_norms() -> None:
    for world_size, shared in ((1, False), (2, True)):
        task = make_task(nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2)))
        task._trainer = cast(Any, SimpleNamespace(world_size=world_size))
        task.setup("fit")
        assert isinstance(cast(nn.Sequential, task.net)[1], SyncedBatchNorm) is shared


def test_samples_are_counted_over_all_processes(tmp_path: Path) -> None:
    task = make_task()
    task.trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path)
    task.count_samples(torch.arange(6))
    task.count_samples(torch.arange(3))
    assert task.state_dict()["samples_seen"].item() == 9


def test_layout_and_precision_of_the_network() -> None:
    net = nn.Conv3d(2, 2, 3)
    net.memory_format = cast(Any, torch.channels_last_3d)
    assert make_task(net).memory_format == torch.channels_last_3d
    assert net.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert make_task(net, channels_last=False).memory_format == torch.contiguous_format
    with torch.autocast("cpu", torch.bfloat16):
        assert make_task()(torch.zeros(1, 1, 3, 3, 3)).dtype == torch.float32


def test_training_needs_an_optimiser() -> None:
    with pytest.raises(ConfigError, match="training needs an optimiser"):
        make_task().configure_optimizers()
