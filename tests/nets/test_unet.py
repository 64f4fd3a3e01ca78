from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lungdet.errors import ShapeError
from lungdet.nets.unet import SliceUNet, UpBlock, initialise_as_the_book


def norm(x: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{key}"].view(-1, 1, 1) for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def functional_unet(state: dict[str, Tensor], x: Tensor, depth: int) -> Tensor:
    """The network written a second time, from the description of the book's files, without modules."""

    def block(y: Tensor, name: str) -> Tensor:
        for conv, after in (("0", "2"), ("3", "5")):
            y = F.conv2d(y, state[f"{name}.{conv}.weight"], state[f"{name}.{conv}.bias"], padding=1)
            y = norm(y.clamp(min=0), state, f"{name}.{after}")
        return y

    x = norm(x, state, "input_batchnorm")
    kept = []
    for level in range(depth):
        x = block(x, f"unet.down_path.{level}.block")
        kept.append(x)
        if level < depth - 1:
            x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    for step in range(depth - 1):
        name = f"unet.up_path.{step}"
        weight, bias = state[f"{name}.up.weight"], state[f"{name}.up.bias"]
        up = torch.einsum("bcyx,cokl->boykxl", x, weight).flatten(4, 5).flatten(2, 3) + bias.view(-1, 1, 1)
        x = block(torch.cat([up, kept[depth - 2 - step]], 1), f"{name}.conv_block.block")
    return torch.einsum("bcyx,oc->boyx", x, state["unet.last.weight"][:, :, 0, 0]) + state["unet.last.bias"][0]


def with_random_statistics(net: SliceUNet) -> SliceUNet:
    generator = torch.Generator().manual_seed(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, generator=generator)
            module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, generator=generator)
    return net.double().eval()


@pytest.mark.parametrize(("depth", "width"), [(3, 16), (1, 4), (4, 2)])
def test_is_the_network_of_the_description(depth: int, width: int) -> None:
    torch.manual_seed(1)
    net = with_random_statistics(SliceUNet(depth=depth, first_width=width))
    x = torch.randn(2, 7, 16, 24, dtype=torch.float64)
    with torch.no_grad():
        logits = net(x)
        assert logits.shape == (2, 1, 16, 24)
        torch.testing.assert_close(logits, functional_unet(net.state_dict(), x, depth))
        channels_last = net.to(memory_format=SliceUNet.memory_format)
        torch.testing.assert_close(channels_last(x), logits)


def test_has_the_tensors_of_the_books_file() -> None:
    state = SliceUNet().state_dict()
    assert len(state) == 81
    assert state["unet.down_path.0.block.0.weight"].shape == (16, 7, 3, 3)
    assert state["unet.down_path.2.block.3.weight"].shape == (64, 64, 3, 3)
    assert state["unet.up_path.0.up.weight"].shape == (64, 32, 2, 2)
    assert state["unet.up_path.1.conv_block.block.0.weight"].shape == (16, 32, 3, 3)
    assert state["unet.last.weight"].shape == (1, 16, 1, 1)


def test_check_input_names_the_axis_and_the_divisor() -> None:
    net = SliceUNet()
    net.check_input(7, (512, 516))
    with pytest.raises(ShapeError, match=r"multiple of 4 pixels along y, \(510, 512\) has 510"):
        net.check_input(7, (510, 512))
    with pytest.raises(ShapeError, match=r"multiple of 4 pixels along x, \(512, 0\) has 0"):
        net.check_input(7, (512, 0))
    with pytest.raises(ShapeError, match=r"built for 7 slices, the data has 1: type model.net.in_channels=1"):
        net.check_input(1, (512, 512))
    with pytest.raises(ShapeError, match=r"axes \(y, x\)"):
        net.check_input(7, (8, 512, 512))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 6}, "in_channels must be odd"),
        ({"in_channels": -1}, "in_channels must be odd"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"first_width": 0}, "first_width must be at least 1"),
        ({"n_classes": 0}, "n_classes must be at least 1"),
    ],
)
def test_impossible_networks_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        SliceUNet(**arguments)


def test_skip_is_cropped_in_the_centre() -> None:
    torch.manual_seed(0)
    block = UpBlock(4, 2).eval()
    x, skip = torch.randn(1, 4, 3, 3), torch.randn(1, 2, 8, 10)
    with torch.no_grad():
        torch.testing.assert_close(block(x, skip), block(x, skip[:, :, 1:7, 2:8].contiguous()))


def test_initialisation_is_the_books() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 256, kernel_size=3)
    initialise_as_the_book(conv)
    fan_out = 256 * 9
    assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)
    assert conv.bias is not None
    bound = 1 / math.sqrt(fan_out)
    assert conv.bias.mean().item() == pytest.approx(-bound, rel=0.25)
    assert conv.bias.std().item() == pytest.approx(bound, rel=0.2)
    bare = nn.ConvTranspose2d(2, 3, kernel_size=2, bias=False)
    before = bare.weight.clone()
    initialise_as_the_book(bare)
    assert not torch.equal(before, bare.weight)
    linear = nn.Linear(3, 3)
    before = linear.weight.clone()
    initialise_as_the_book(linear)
    assert torch.equal(before, linear.weight)


def test_gradients_reach_every_parameter() -> None:
    net = SliceUNet(first_width=2)
    net(torch.randn(2, 7, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
