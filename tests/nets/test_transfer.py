"""Weights come over by name, the head stays behind; frozen modules are exactly those named and do not move at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError, MissingFileError, RunError, ShapeError
from lungdet.nets.luna import LunaModel
from lungdet.nets.transfer import find_modules, freeze, hold_still, load_all_but_head, read_network_weights


class Ten(nn.Module):
    """`block1` and `block10` side by side, each with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv3d(1, 2, 1), nn.BatchNorm3d(2))
        self.block10 = nn.Sequential(nn.Conv3d(2, 2, 1), nn.BatchNorm3d(2))
        self.head = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.block10(self.block1(x)).mean(dim=(2, 3, 4)))
        return logits


def luna(seed: int, channels: int = 2) -> LunaModel:
    torch.manual_seed(seed)
    return LunaModel(conv_channels=channels)


def copy_of(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def test_everything_but_the_head_comes_over(tmp_path: Path) -> None:
    trained, net = luna(0), luna(1)
    trained.tail_batchnorm.running_mean = torch.tensor([3.0])
    torch.save({"state_dict": {f"net.{k}": v for k, v in trained.state_dict().items()}}, tmp_path / "a.ckpt")
    before = copy_of(net)
    load_all_but_head(net, read_network_weights(tmp_path / "a.ckpt"), path="a.ckpt")
    for name, tensor in net.state_dict().items():
        expected = before if name.startswith("head_linear.") else trained.state_dict()
        assert torch.equal(tensor, expected[name]), name


def test_the_books_file_and_other_parts_of_a_task(tmp_path: Path) -> None:
    state = luna(0).state_dict()
    torch.save({"model_state": state, "epoch": 3}, tmp_path / "cls.state")
    torch.save({"state_dict": {"samples_seen": torch.tensor(3), "net.a": torch.ones(2)}}, tmp_path / "b.ckpt")
    assert read_network_weights(tmp_path / "cls.state").keys() == state.keys()
    assert list(read_network_weights(tmp_path / "b.ckpt")) == ["a"]


def test_a_head_of_another_shape_does_not_matter() -> None:
    torch.manual_seed(0)
    one_logit = LunaModel(conv_channels=2, n_classes=1)
    load_all_but_head(one_logit, luna(1).state_dict(), path="a.ckpt")


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"a\.ckpt: block1\.conv1\.weight has shape .* LunaModel \(without its head\)"):
        load_all_but_head(luna(0), luna(0, channels=4).state_dict(), path="a.ckpt")
    with pytest.raises(RunError, match=r"does not hold the weights of LunaModel"):
        load_all_but_head(luna(0), Ten().state_dict(), path="a.ckpt")
    with pytest.raises(RunError, match="no child module whose name starts with 'head'"):
        load_all_but_head(nn.Sequential(nn.Linear(1, 1)), {}, path="a.ckpt")
    with pytest.raises(MissingFileError):
        read_network_weights(tmp_path / "none.ckpt")
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.ckpt")
    with pytest.raises(RunError, match=r"no 'state_dict', only \['weights'\]"):
        read_network_weights(tmp_path / "other.ckpt")
    torch.save({"state_dict": {"net.a": torch.tensor([float("nan")])}}, tmp_path / "nan.ckpt")
    with pytest.raises(RunError, match="NaN"):
        read_network_weights(tmp_path / "nan.ckpt")


def test_names_are_exact_not_substrings() -> None:
    net = Ten()
    freeze(find_modules(net, ["block1"], key="model.frozen"))
    assert {name for name, p in net.named_parameters() if not p.requires_grad} == {
        "block1.0.weight", "block1.0.bias", "block1.1.weight", "block1.1.bias",
    }  # fmt: skip
    (inner,) = find_modules(net, ["block10.1"], key="model.frozen")
    assert inner is net.block10[1]


@pytest.mark.parametrize(
    ("names", "messages"),
    [
        (["blok1"], ["model.frozen: Ten has no module 'blok1'; did you mean 'block1'?"]),
        (["stem"], ["model.frozen: Ten has no module 'stem'; it has block1, block10, head"]),
        ([""], ["model.frozen: Ten has no module ''; it has block1, block10, head"]),
        (["head", "x"], ["'head' is the head", "no module 'x'"]),
    ],
)
def test_names_that_cannot_be_frozen_are_all_named(names: list[str], messages: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        find_modules(Ten(), names, key="model.frozen")
    assert len(caught.value.problems) == len(messages)
    for problem, message in zip(caught.value.problems, messages, strict=True):
        assert message in problem


def test_what_is_frozen_and_held_still_does_not_move_and_the_rest_does() -> None:
    torch.manual_seed(0)
    net = Ten()
    frozen = find_modules(net, ["block1"], key="model.frozen")
    freeze(frozen)
    before = copy_of(net)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        net.train()
        hold_still(frozen)
        optimizer.zero_grad()
        net(torch.randn(4, 1, 2, 2, 2) + 5).square().sum().backward()
        optimizer.step()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith("block1."), name
