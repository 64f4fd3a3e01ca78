"""Two real processes, each with half of a batch, against PyTorch's batch norm on the whole of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import start_processes

from lungdet.nets.synced_batch_norm import SyncedBatchNorm, synchronise_batch_norm


def make_net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 8, 2))


def batch() -> torch.Tensor:
    return torch.randn(6, 1, 4, 4, 4, generator=torch.Generator().manual_seed(2)) * 3 + 1


def steps(net: nn.Module, images: torch.Tensor, n_processes: int) -> dict[str, torch.Tensor]:
    """Two steps of gradient descent on the mean square of the outputs, gradients averaged over the processes."""
    for _ in range(2):
        net.zero_grad()
        net(images).square().mean().backward()
        for parameter in net.parameters():
            assert parameter.grad is not None
            if n_processes > 1:
                dist.all_reduce(parameter.grad)
            parameter.data -= 0.1 * parameter.grad / n_processes
    return {name: value.clone() for name, value in net.state_dict().items()}


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    net = make_net()
    synchronise_batch_norm(net)
    torch.save(steps(net, batch()[rank::2], 2), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_train_as_one_on_the_whole_batch(tmp_path: Path) -> None:
    context: Any = start_processes(  # type: ignore[no-untyped-call]
        work, (str(tmp_path),), nprocs=2, join=False, start_method="spawn"
    )
    assert context.join(timeout=120) or context.join(timeout=10)
    expected = steps(make_net(), batch(), 1)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=2e-5, atol=2e-6, msg=name)


def test_without_other_processes_it_is_the_layer_itself() -> None:
    plain, synced = make_net(), make_net()
    held = synced[1]  # type: ignore[index]
    synchronise_batch_norm(synced)
    assert held is synced[1], "the object stays, whoever holds it"  # type: ignore[index]
    assert isinstance(held, SyncedBatchNorm)
    expected, found = steps(plain, batch(), 1), steps(synced, batch(), 1)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    plain.eval()
    synced.eval()
    assert torch.equal(plain(batch()), synced(batch()))


def test_a_batch_norm_of_nothing_is_refused() -> None:
    layer = nn.BatchNorm1d(2)
    synchronise_batch_norm(layer)
    with pytest.raises(ValueError, match=r"needs \[B, C, ...\], got 1 axes"):
        layer(torch.zeros(3))


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_networks_of_timm_give_what_they_gave(name: str) -> None:
    """Those of the efficient kind activate in their batch norms."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False, num_classes=2).eval()
    images = torch.randn(2, 3, 64, 64)
    expected = net(images)
    synchronise_batch_norm(net)
    assert any(isinstance(module, SyncedBatchNorm) for module in net.modules())
    assert torch.equal(net(images), expected)


def test_a_batch_norm_of_another_kind_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Louder(nn.BatchNorm2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(input)

    net = nn.Sequential(Louder(3))
    synchronise_batch_norm(net)
    assert type(net[0]) is Louder
    assert "0: each process keeps its own statistics of a Louder" in caplog.text
