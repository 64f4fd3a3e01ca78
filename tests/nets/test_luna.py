from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lungdet.errors import ShapeError
from lungdet.nets.luna import LunaModel, initialise_as_the_book


@pytest.mark.parametrize("shape", [(32, 48, 48), (16, 16, 16), (32, 32, 32), (33, 47, 50)])
def test_every_accepted_crop_gives_logits(shape: tuple[int, int, int]) -> None:
    net = LunaModel().eval()
    net.check_input(1, shape)
    with torch.no_grad():
        logits = net(torch.randn(2, 1, *shape))
    assert logits.shape == (2, 2)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_pooling_is_the_identity_for_the_books_crop() -> None:
    net = LunaModel()
    features = torch.randn(2, 64, 2, 3, 3)
    assert torch.equal(net.pool(features), features)


def test_head_is_the_books_for_any_crop_and_scales_with_the_width() -> None:
    assert LunaModel().head_linear.weight.shape == (2, 1152)
    assert LunaModel(conv_channels=4, n_classes=1).head_linear.weight.shape == (1, 576)
    assert [tuple(b.conv2.weight.shape[:2]) for b in (LunaModel().block1, LunaModel().block4)] == [(8, 8), (64, 64)]


def test_no_border_voxel_is_ignored_when_the_size_is_no_multiple_of_16() -> None:
    torch.manual_seed(0)
    net = LunaModel().eval()
    x = torch.randn(1, 1, 31, 31, 31, requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None
    for axis in (2, 3, 4):  # the last plane of each axis still reaches the logits
        assert x.grad.select(axis, 30).abs().sum() > 0


@pytest.mark.parametrize(("axis", "shape"), [("z", (15, 48, 48)), ("y", (32, 8, 48)), ("x", (32, 48, 15))])
def test_a_small_crop_is_refused_by_axis(axis: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ShapeError, match=f"LunaModel needs at least 16 voxels along {axis}"):
        LunaModel().check_input(1, shape)


def test_wrong_channels_and_classes_are_refused() -> None:
    with pytest.raises(ShapeError, match="built for 2 input"):
        LunaModel(in_channels=2).check_input(1, (32, 48, 48))
    with pytest.raises(ShapeError, match="LunaModel: n_classes must be 1"):
        LunaModel(n_classes=3)


@pytest.mark.parametrize("layer", [nn.Conv3d(32, 64, 3), nn.Linear(2000, 400)])
def test_initial_weights_have_the_books_statistics(layer: nn.Conv3d | nn.Linear) -> None:
    torch.manual_seed(0)
    initialise_as_the_book(layer)
    fan_out = 64 * 27 if isinstance(layer, nn.Conv3d) else 400
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.02)
    assert layer.weight.mean().item() == pytest.approx(0, abs=3e-3)
    assert layer.bias is not None
    bound = 1 / math.sqrt(fan_out)
    assert layer.bias.mean().item() == pytest.approx(-bound, rel=0.5)
    assert layer.bias.std().item() == pytest.approx(bound, rel=0.25)


def test_initialisation_leaves_batch_norm_and_layers_without_bias_in_order() -> None:
    norm, bare = nn.BatchNorm3d(3), nn.Conv3d(1, 4, 3, bias=False)
    initialise_as_the_book(norm)
    initialise_as_the_book(bare)
    assert norm.weight.tolist() == [1, 1, 1]
    assert norm.bias.tolist() == [0, 0, 0]
    assert bare.weight.std() > 0


def test_memory_format_changes_the_speed_not_the_answer() -> None:
    torch.manual_seed(0)
    net = LunaModel().eval()
    x = torch.randn(2, 1, 32, 48, 48)
    with torch.no_grad():
        expected = net(x)
        fast = net.to(memory_format=net.memory_format)(x.to(memory_format=net.memory_format))
    assert net.block2.conv1.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(fast, expected, atol=1e-4, rtol=1e-4)


def test_logits_keep_float32_resolution_under_bfloat16() -> None:
    torch.manual_seed(0)
    net = LunaModel().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = net(torch.randn(8, 1, 16, 16, 16))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.to(torch.bfloat16).float())
