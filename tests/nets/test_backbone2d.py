"""Stems, stages, learning rates and inputs of timm's networks; for weights see test_backbone2d_weights."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError
from lungdet.nets.backbone2d import Backbone2d

BACKBONES = ["efficientnet_b0", "densenet121", "tf_efficientnet_lite0", "resnet50"]


@functools.cache
def shared(backbone: str) -> Backbone2d:
    """One network for all tests that change nothing in it."""
    torch.manual_seed(0)
    return Backbone2d(backbone).eval()


def in_three(grey: Tensor) -> Tensor:
    """[B, 1, H, W] -> [B, 3, H, W], the same in each channel."""
    return grey.expand(-1, 3, -1, -1)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_stages_hold_every_parameter_once_and_stand_in_forward_order(backbone: str) -> None:
    net = shared(backbone)
    stages = net.stages()
    held = [parameter for stage in stages.values() for parameter in stage.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == set(net.parameters())
    modules = dict(net.named_modules())
    assert all(modules[name] is stage for name, stage in stages.items())

    passed: list[str] = []
    hooks = [stage.register_forward_hook(lambda *_, name=name: passed.append(name)) for name, stage in stages.items()]
    with torch.no_grad():
        net(torch.randn(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    assert passed == list(stages)


def test_stages_have_the_names_that_people_know() -> None:
    assert list(shared("resnet50").stages()) == [
        "backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2", "backbone.layer3", "backbone.layer4",
        "head",
    ]  # fmt: skip
    assert list(shared("efficientnet_b0").stages()) == [
        "backbone.conv_stem", "backbone.bn1", *(f"backbone.blocks.{i}" for i in range(7)),
        "backbone.conv_head", "backbone.bn2", "head",
    ]  # fmt: skip
    features = "conv0 norm0 denseblock1 transition1 denseblock2 transition2 denseblock3 transition3 denseblock4 norm5"
    assert list(shared("densenet121").stages()) == [*(f"backbone.features.{n}" for n in features.split()), "head"]


def test_stages_from_a_name_on() -> None:
    net = shared("resnet50")
    assert list(net.stages_from("backbone.layer3")) == ["backbone.layer3", "backbone.layer4", "head"]
    assert list(net.stages_from("head")) == ["head"]
    with pytest.raises(ConfigError, match=r"no stage 'backbone\.layer5'; did you mean 'backbone\.layer4'\?"):
        net.stages_from("backbone.layer5")
    with pytest.raises(ConfigError, match=r"no stage 'x'; choose one of backbone\.conv1, .*, head"):
        net.stages_from("x")


def test_two_learning_rates() -> None:
    net = shared("resnet50")
    head, body = net.parameter_groups(head_lr=1e-4, stage_lr=1e-5, from_stage="backbone.layer4")
    assert (head["name"], head["lr"], body["name"], body["lr"]) == ("head", 1e-4, "body", 1e-5)
    assert set(head["params"]) == set(net.head.parameters())
    assert set(body["params"]) == set(net.backbone.layer4.parameters())
    _, everything = net.parameter_groups(head_lr=1e-4, stage_lr=1e-5)
    assert set(everything["params"]) == set(net.backbone.parameters())
    (alone,) = net.parameter_groups(head_lr=1e-4, stage_lr=1e-5, from_stage="head")
    assert alone["name"] == "head"
    optimizer = torch.optim.AdamW(net.parameter_groups(head_lr=1e-4, stage_lr=1e-5), lr=1.0, weight_decay=1e-4)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 1e-5]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_smallest_image_gives_finite_float32_logits_in_channels_last(backbone: str) -> None:
    torch.manual_seed(0)
    net = Backbone2d(backbone, in_channels=1, n_classes=2).eval()
    net.check_input(1, (32, 32))
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        expected = net(x)
        net.to(memory_format=net.memory_format)
        fast = net(x.to(memory_format=net.memory_format))
        with torch.autocast("cpu", torch.bfloat16):
            lowered = net(x)
        assert net.features(x).shape == (2, net.n_features)
    assert expected.shape == (2, 2)
    assert torch.isfinite(expected).all()
    assert lowered.dtype == torch.float32
    torch.testing.assert_close(fast, expected, atol=1e-4, rtol=1e-3)


def test_head_is_dropout_and_one_linear_layer() -> None:
    net = shared("efficientnet_b0")
    assert sum(p.numel() for p in net.head.parameters()) == 1281
    assert [type(layer).__name__ for layer in net.head] == ["Dropout", "Fp32Linear"]
    assert Backbone2d("resnet18", dropout=0.5).head[0].p == 0.5


def test_normalisation_is_timms_and_for_grey_a_third_of_the_deviation() -> None:
    net = shared("resnet50")
    assert net.input.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert net.input.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    grey = Backbone2d("tf_efficientnet_lite0", in_channels=1)
    assert grey.input.mean.flatten().tolist() == pytest.approx([0.5])
    assert grey.input.std.flatten().tolist() == pytest.approx([0.5 / 3])


def test_first_activations_of_one_channel_are_those_of_the_grey_image_in_three() -> None:
    torch.manual_seed(0)
    rgb, one = Backbone2d().eval(), Backbone2d(in_channels=1).eval()
    rgb.load_pretrained("imagenet_lite0")
    one.load_pretrained("imagenet_lite0")
    filters = rgb.backbone.conv_stem.weight
    torch.testing.assert_close(one.backbone.conv_stem.weight[:, 0], (filters[:, 0] + filters[:, 1] + filters[:, 2]) / 3)
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = rgb.backbone.conv_stem(rgb.input(in_three(grey)))
        found = one.backbone.conv_stem(one.input(grey))
        unscaled = one.backbone.conv_stem((grey - 0.5) / 0.5)
        torch.testing.assert_close(one.features(grey), rgb.features(in_three(grey)), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)  # the border, padded with zeros, included
    torch.testing.assert_close(unscaled * 3, expected, atol=1e-5, rtol=1e-5)  # the mean alone gives a third


def test_where_the_normalisation_differs_by_colour_the_mean_of_it_is_used(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rgb = Backbone2d("resnet18")
    torch.save(rgb.backbone.state_dict(), tmp_path / "rgb.pth")
    one = Backbone2d("resnet18", in_channels=1)
    one.load_pretrained(str(tmp_path / "rgb.pth"))
    grey = torch.rand(2, 1, 64, 64)
    mean, std = rgb.input.mean.mean(), rgb.input.std.mean()
    with torch.no_grad():
        found = one.backbone.conv1(one.input(grey))
        common = rgb.backbone.conv1(((grey - mean) / std).repeat(1, 3, 1, 1))
        by_colour = rgb.backbone.conv1(rgb.input(in_three(grey)))
    torch.testing.assert_close(found, common, atol=1e-4, rtol=1e-4)
    assert (found - by_colour).std() < 0.2 * by_colour.std()


@pytest.mark.parametrize(
    ("channels", "shape", "message"),
    [
        (3, (31, 64), "Backbone2d needs at least 32 pixels along y"),
        (3, (64, 31), "Backbone2d needs at least 32 pixels along x"),
        (1, (64, 64), "Backbone2d was built for 3 input channel.*type model.net.in_channels=1"),
        (3, (8, 64, 64), "Backbone2d takes images"),
    ],
)
def test_images_that_do_not_fit_are_refused(channels: int, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        shared("resnet50").check_input(channels, shape)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no network 'resnet_50'; did you mean .*resnet50"):
        Backbone2d("resnet_50")
    with pytest.raises(ConfigError, match=r"timm\.list_models"):
        Backbone2d("%")
    with pytest.raises(ConfigError, match=r"nonsense.*leave the tag"):
        Backbone2d("resnet18.nonsense")
    with pytest.raises(ConfigError, match="test_vit takes images of one size only"):
        Backbone2d("test_vit")
    with pytest.raises(ShapeError, match=r"in_channels must be 1 \(grey\) or 3"):
        Backbone2d("resnet18", in_channels=2)
    with pytest.raises(ShapeError, match="Backbone2d: n_classes must be 1"):
        Backbone2d("resnet18", n_classes=3)


def test_batch_norms_of_the_backbone_are_batch_norms() -> None:
    """What freezing and several processes rely on, as timm has its own classes for them."""
    norms = [m for m in shared("efficientnet_b0").modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 49


def test_images_are_resized_first_where_a_size_is_given() -> None:
    net = Backbone2d("test_efficientnet", resize_hw=(64, 96)).eval()
    image = torch.rand(1, 3, 20, 24)
    net.check_input(3, (20, 24))  # too small for the backbone as it is
    resized = nn.functional.interpolate(image, (64, 96), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(net(image), net(resized))
    with pytest.raises(ConfigError, match=r"resize_hw=\[0, 3\]"):
        Backbone2d("test_efficientnet", resize_hw=(0, 3))
