from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from lungdet.nets.luna import LunaModel
from lungdet.nets.shallow_convolution import Fp32WhereShallow, guard_shallow_convolutions


def gradient(conv: nn.Conv3d, x: Tensor) -> Tensor:
    conv.zero_grad()
    conv(x).float().square().sum().backward()
    assert conv.weight.grad is not None
    return conv.weight.grad.float().clone()


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_weight_gradients_are_right_under_bfloat16(depth: int, bias: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(8, 8, 3, padding=1, bias=bias)
    guarded = copy.deepcopy(plain)
    guard_shallow_convolutions(guarded)
    x = torch.randn(4, 8, depth, 6, 6)
    expected = gradient(plain, x)
    for _ in range(10):
        junk = [torch.full((50_000,), float("nan")) for _ in range(10)]  # what an uninitialised buffer would pick up
        del junk
        with torch.autocast("cpu", torch.bfloat16):
            found = gradient(guarded, x)
        assert (found - expected).abs().max() < 0.05 * expected.abs().max()


def test_a_model_in_bfloat16_stays_in_bfloat16() -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(8, 8, 3, padding=1).to(torch.bfloat16)
    guard_shallow_convolutions(conv)
    y = conv(torch.randn(4, 8, 2, 6, 6, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert conv.weight.grad is not None
    assert torch.isfinite(conv.weight.grad).all()


def test_deep_volumes_and_float32_take_the_usual_way() -> None:
    torch.manual_seed(0)
    plain = nn.Conv3d(2, 2, 3, padding=1)
    guarded = copy.deepcopy(plain)
    guard_shallow_convolutions(guarded)
    shallow, deep = torch.randn(2, 2, 2, 6, 6), torch.randn(2, 2, 6, 6, 6)
    assert torch.equal(guarded(shallow), plain(shallow))
    with torch.autocast("cpu", torch.bfloat16):
        assert guarded(deep).dtype == torch.bfloat16
        assert guarded(shallow).dtype == torch.float32


def test_a_whole_network_is_guarded_and_keeps_its_names() -> None:
    net = LunaModel()
    names = set(net.state_dict())
    guard_shallow_convolutions(net)
    assert set(net.state_dict()) == names
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv3d)]
    assert len(convolutions) == 8
    assert all(type(module) is Fp32WhereShallow for module in convolutions)
