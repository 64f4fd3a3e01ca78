from __future__ import annotations

import pytest
import torch
from torch import nn

from lungdet.errors import ShapeError
from lungdet.nets.patch_cnn import PatchCnn


@pytest.mark.parametrize("n_classes", [1, 2])
@pytest.mark.parametrize("shape", [(96, 96), (24, 24), (25, 61), (224, 224)])
def test_every_accepted_image_gives_float32_logits(shape: tuple[int, int], n_classes: int) -> None:
    torch.manual_seed(0)
    net = PatchCnn(n_classes=n_classes).eval()
    net.check_input(3, shape)
    x = torch.randn(2, 3, *shape)
    with torch.no_grad():
        logits = net(x)
        net.to(memory_format=net.memory_format)
        fast = net(x.to(memory_format=net.memory_format))
        with torch.autocast("cpu", torch.bfloat16):
            lowered = net(x)
    assert logits.shape == (2, n_classes)
    assert torch.isfinite(logits).all()
    torch.testing.assert_close(fast, logits, atol=1e-5, rtol=1e-4)
    assert lowered.dtype == torch.float32


def test_layers_are_the_notebooks() -> None:
    net = PatchCnn(dropout=0.25)
    blocks = (net.block1, net.block2, net.block3)
    assert [[type(layer) for layer in block] for block in blocks] == [
        [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    ] * 3
    assert [tuple(block[0].state_dict()["weight"].shape) for block in blocks] == [
        (32, 3, 3, 3),
        (64, 32, 3, 3),
        (128, 64, 3, 3),
    ]
    assert [tuple(layer.weight.shape) for layer in net.head if isinstance(layer, nn.Linear)] == [(256, 1152), (1, 256)]
    assert net.head[2].p == 0.25
    # 864 + 64, 18,432 + 128, 73,728 + 256, 294,912 + 256, 256 + 1
    assert sum(p.numel() for p in net.parameters()) == 388_897
    assert PatchCnn(in_channels=1).block1[0].weight.shape == (32, 1, 3, 3)
    assert PatchCnn().head[2].p == 0.5


def test_the_middle_cell_of_a_96_pixel_patch_is_its_central_32_pixels() -> None:
    pool = PatchCnn().pool
    features = torch.randn(1, 128, 12, 12)  # 96 / 8
    torch.testing.assert_close(pool(features)[0, :, 1, 1], features[0, :, 4:8, 4:8].mean(dim=(1, 2)))


def test_no_border_pixel_is_ignored_when_the_size_is_no_multiple_of_8() -> None:
    torch.manual_seed(0)
    net = PatchCnn().eval()
    x = torch.randn(1, 3, 33, 33, requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None
    assert x.grad[:, :, -1].abs().sum() > 0
    assert x.grad[..., -1].abs().sum() > 0


@pytest.mark.parametrize(
    ("channels", "shape", "message"),
    [
        (3, (23, 96), "PatchCnn needs at least 24 pixels along y, the image .23, 96. has 23"),
        (3, (96, 8), "PatchCnn needs at least 24 pixels along x"),
        (1, (96, 96), "PatchCnn was built for 3 input channel.*type model.net.in_channels=1"),
        (3, (8, 96, 96), r"PatchCnn takes images with axes \(y, x\), the data has shape \(8, 96, 96\)"),
    ],
)
def test_images_that_do_not_fit_are_refused(channels: int, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        PatchCnn().check_input(channels, shape)


def test_other_heads_are_refused() -> None:
    with pytest.raises(ShapeError, match="PatchCnn: n_classes must be 1"):
        PatchCnn(n_classes=3)
