from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from lungdet.errors import ShapeError
from lungdet.nets.shallow_convolution import guard_shallow_convolutions
from lungdet.nets.unet3d import BasicUNet3d, DynUNet3d, PatchNet3d

SMALL: list[Callable[..., PatchNet3d]] = [partial(BasicUNet3d, first_width=4), partial(DynUNet3d, first_width=4)]
each_net = pytest.mark.parametrize("build", SMALL, ids=["basic", "dyn"])


@each_net
def test_output_has_the_size_of_the_input(build: Callable[..., PatchNet3d]) -> None:
    net = build(in_channels=2, n_classes=2).eval()
    with torch.no_grad():
        assert net(torch.randn(1, 2, 32, 48, 16)).shape == (1, 2, 32, 48, 16)
    assert net.divisor == 16
    assert net.memory_format == torch.contiguous_format


def test_widths_and_levels_are_as_said() -> None:
    """Parameters of the first and the deepest convolution, and of the head."""
    shapes = {name: tuple(p.shape) for name, p in BasicUNet3d().named_parameters()}
    assert shapes["backbone.conv_0.conv_0.conv.weight"] == (16, 1, 3, 3, 3)
    assert shapes["backbone.down_4.convs.conv_1.conv.weight"] == (128, 128, 3, 3, 3)
    assert shapes["backbone.final_conv.weight"] == (1, 16, 1, 1, 1)
    shapes = {name: tuple(p.shape) for name, p in DynUNet3d(depth=6, first_width=16).named_parameters()}
    assert shapes["backbone.input_block.conv1.conv.weight"] == (16, 1, 3, 3, 3)
    assert shapes["backbone.bottleneck.conv2.conv.weight"] == (320, 320, 3, 3, 3)
    assert shapes["backbone.output_block.conv.conv.weight"] == (1, 16, 1, 1, 1)
    assert DynUNet3d(depth=3, first_width=2).divisor == 4


@each_net
def test_what_check_input_accepts_trains_and_nothing_smaller_does(build: Callable[..., PatchNet3d]) -> None:
    net = build()
    net.check_input(1, (16, 32, 16))
    net(torch.randn(1, 1, 16, 32, 16)).mean().backward()
    with pytest.raises(ShapeError, match=r"\(16, 16, 16\) to one voxel, .* set at least 32 along one axis"):
        net.check_input(1, (16, 16, 16))
    with pytest.raises(ValueError, match="more than 1 spatial element"):  # what it would be at the first step
        net(torch.randn(1, 1, 16, 16, 16))


@each_net
def test_check_input_names_the_axis(build: Callable[..., PatchNet3d]) -> None:
    net = build()
    with pytest.raises(
        ShapeError, match=r"multiple of 16 voxels along y, the patch \(32, 40, 32\) has 40: set 32 or 4"
    ):
        net.check_input(1, (32, 40, 32))
    with pytest.raises(ShapeError, match="needs at least 16 voxels along z"):
        net.check_input(1, (8, 32, 32))
    with pytest.raises(ShapeError, match=r"1 input channel\(s\), the data has 7: type model.net.in_channels=7"):
        net.check_input(7, (32, 32, 32))
    with pytest.raises(ShapeError, match=r"axes \(z, y, x\)"):
        net.check_input(1, (512, 512))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (partial(DynUNet3d, depth=2), "DynUNet3d: depth must be at least 3, got 2"),
        (partial(DynUNet3d, n_classes=3), "DynUNet3d: n_classes must be 1"),
        (partial(BasicUNet3d, first_width=0), "BasicUNet3d: first_width must be at least 1, got 0"),
        (partial(BasicUNet3d, in_channels=0), "BasicUNet3d: in_channels must be at least 1, got 0"),
    ],
)
def test_impossible_networks_are_refused(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        build()


@each_net
def test_gradients_reach_every_parameter_in_bfloat16_too(build: Callable[..., PatchNet3d]) -> None:
    net = build()
    guard_shallow_convolutions(net)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(torch.randn(2, 1, 32, 32, 32))
    logits.float().square().mean().backward()
    gradients = {name: p.grad for name, p in net.named_parameters()}
    assert not [name for name, grad in gradients.items() if grad is None]
    assert all(grad.isfinite().all() and grad.abs().max() < 1e4 for grad in gradients.values() if grad is not None)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for build in SMALL:
        build()
    assert capsys.readouterr() == ("", "")
