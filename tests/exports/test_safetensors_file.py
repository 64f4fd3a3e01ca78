from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from lungdet.errors import RunError, ShapeError
from lungdet.exports import safetensors_file
from lungdet.exports.card import NetworkCard, NetworkSpec
from lungdet.exports.load import card_beside, load_exported
from lungdet.exports.safetensors_file import distinct_state
from lungdet.nets.luna import LunaModel
from lungdet.nets.unet3d import DynUNet3d

Copied = Callable[[str], Path]
Replace = Callable[[Path, bytes, str], Path]


def test_the_class_comes_back_with_its_weights(classifier: tuple[nn.Module, NetworkCard], copied: Copied) -> None:
    net = load_exported(copied("safetensors")).net
    assert type(net) is LunaModel
    expected, given = classifier[0].state_dict(), net.state_dict()
    assert expected.keys() == given.keys()
    assert all(torch.equal(expected[name], given[name]) for name in expected)
    # Not bound to the exported size.
    assert net(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("head_linear.bias", torch.tensor([0.0, float("nan")]), RunError, "head_linear.bias has NaN or infinite"),
        ("head_linear.bias", torch.zeros(3), ShapeError, "head_linear.bias has shape"),
        ("surplus", torch.zeros(1), RunError, "1 unknown \\['surplus'\\]"),
    ],
)
def test_wrong_weights(
    name: str,
    value: torch.Tensor,
    error: type[Exception],
    message: str,
    copied: Copied,
    write_with_hash: Replace,
) -> None:
    path = copied("safetensors")
    state = {**safetensors.torch.load_file(path), name: value}
    with pytest.raises(error, match=message):
        load_exported(write_with_hash(path, safetensors.torch.save(state), "safetensors"))


def test_a_file_of_another_kind(copied: Copied, write_with_hash: Replace) -> None:
    with pytest.raises(RunError, match="cannot be read as safetensors"):
        load_exported(write_with_hash(copied("safetensors"), b"\x80\x04no tensors", "safetensors"))


def test_a_card_that_names_a_foreign_class_builds_nothing(copied: Copied) -> None:
    path = copied("safetensors")
    card = json.loads(card_beside(path).read_text())
    card["network"] = {"target": "os.system", "arguments": {"command": "true"}}
    card_beside(path).write_text(json.dumps(card))
    with pytest.raises(RunError, match=r"only classes of lungdet.nets can be built"):
        load_exported(path)


class Shared(nn.Module):
    """One layer under two names, as in MONAI's DynUNet."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = self.first


def test_a_tensor_with_two_names_is_written_once() -> None:
    net = Shared()
    assert set(distinct_state(net)) == {"first.weight", "first.bias"}
    other = Shared()
    other.load_state_dict(distinct_state(net), strict=False)
    assert torch.equal(other.second.weight, net.second.weight)


def test_a_dynunet_comes_back(tmp_path: Path, classifier: tuple[nn.Module, NetworkCard]) -> None:
    network = NetworkSpec(target="lungdet.nets.unet3d.DynUNet3d", arguments={"first_width": 2, "depth": 3})
    net = DynUNet3d(**network.arguments)
    card = dataclasses.replace(classifier[1], network=network)
    path = tmp_path / "net.safetensors"
    safetensors_file.write(net, card, path)
    loaded = safetensors_file.load(path.read_bytes(), card, path).state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in net.state_dict().items())
