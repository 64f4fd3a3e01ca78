from __future__ import annotations

import urllib.error
from pathlib import Path

import pytest
import torch
from torch import nn

from lungdet.errors import MissingFileError, RunError, ShapeError
from lungdet.nets.resnet3d import R3d18, ResNet3d18


@pytest.fixture(scope="module")
def torchvision_state() -> dict[str, torch.Tensor]:
    from torchvision.models.video import r3d_18

    torch.manual_seed(0)
    return r3d_18(weights=None).state_dict()  # type: ignore[no-any-return]


def test_r3d18_has_the_notebooks_head_and_a_one_channel_stem() -> None:
    net = R3d18()

    linears = [layer for layer in net.head if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linears] == [(512, 128), (128, 1)]
    assert len(net.head) == 4
    assert isinstance(net.head[1], nn.ReLU)
    assert isinstance(net.head[2], nn.Dropout)
    assert net.head[2].p == 0.3
    assert net.backbone.stem[0].weight.shape == (64, 1, 3, 7, 7)


@pytest.mark.parametrize("n_classes", [1, 2])
@pytest.mark.parametrize("net_class", [R3d18, ResNet3d18])
def test_smallest_accepted_crop_gives_finite_float32_logits(
    net_class: type[R3d18] | type[ResNet3d18], n_classes: int
) -> None:
    net = net_class(n_classes=n_classes).eval()
    shape = (8, 16, 16) if net_class is R3d18 else (16, 16, 16)
    net.check_input(1, shape)
    net.to(memory_format=net.memory_format)
    x = torch.randn(2, 1, *shape).to(memory_format=net.memory_format)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = net(x)
    assert logits.shape == (2, n_classes)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (R3d18, (7, 16, 16), "R3d18 needs at least 8 voxels along z"),
        (R3d18, (8, 15, 16), "R3d18 needs at least 16 voxels along y"),
        (ResNet3d18, (16, 16, 8), "ResNet3d18 needs at least 16 voxels along x"),
    ],
)
def test_small_crops_are_refused_by_axis(
    net: type[R3d18] | type[ResNet3d18], shape: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        net().check_input(1, shape)


def test_a_stem_stride_of_two_needs_twice_the_crop() -> None:
    net = ResNet3d18(stem_stride=2)
    net.check_input(1, (32, 32, 32))
    with pytest.raises(ShapeError, match="at least 32 voxels along z"):
        net.check_input(1, (16, 32, 32))


@pytest.mark.parametrize("net", [R3d18, ResNet3d18])
def test_other_heads_are_refused(net: type[R3d18] | type[ResNet3d18]) -> None:
    with pytest.raises(ShapeError, match=f"{net.__name__}: n_classes must be 1"):
        net(n_classes=5)


def test_pretrained_rgb_stem_is_averaged_over_its_colours(
    tmp_path: Path, torchvision_state: dict[str, torch.Tensor]
) -> None:
    torch.save(torchvision_state, tmp_path / "r3d_18.pth")
    net = R3d18(weights=str(tmp_path / "r3d_18.pth"))
    rgb = torchvision_state["stem.0.weight"]
    torch.testing.assert_close(net.backbone.stem[0].weight[:, 0], (rgb[:, 0] + rgb[:, 1] + rgb[:, 2]) / 3)
    assert torch.equal(net.backbone.layer4[1].conv2[0].weight, torchvision_state["layer4.1.conv2.0.weight"])
    three = R3d18(in_channels=3, weights=str(tmp_path / "r3d_18.pth"))
    assert torch.equal(three.backbone.stem[0].weight, rgb)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "other.pth")
    with pytest.raises(
        RunError, match=r"weights of torchvision's r3d_18: .* missing .*, 1 unknown \['conv1\.weight'\]"
    ):
        R3d18(weights=str(tmp_path / "other.pth"))


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no weights at .*none\.pth"):
        R3d18(weights=str(tmp_path / "none.pth"))


def test_kinetics400_goes_through_torchvision(
    monkeypatch: pytest.MonkeyPatch, torchvision_state: dict[str, torch.Tensor]
) -> None:
    from torchvision.models.video import R3D_18_Weights

    monkeypatch.setattr(R3D_18_Weights, "get_state_dict", lambda self, progress, check_hash: torchvision_state)
    net = R3d18(weights="kinetics400")
    assert torch.equal(net.backbone.layer1[0].conv1[0].weight, torchvision_state["layer1.0.conv1.0.weight"])


def test_kinetics400_offline_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models.video import R3D_18_Weights

    def offline(self: R3D_18_Weights, progress: bool, check_hash: bool) -> dict[str, torch.Tensor]:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(R3D_18_Weights, "get_state_dict", offline)
    with pytest.raises(MissingFileError, match=r"kinetics400 could not be downloaded .*no route.*weights=null"):
        R3d18(weights="kinetics400")
