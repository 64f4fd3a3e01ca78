from __future__ import annotations

from typing import Any

import pytest
import torch

from lungdet.errors import RunError
from lungdet.exports.card import NetworkSpec
from lungdet.exports.rebuild import describe_network, rebuild
from lungdet.nets.luna import LunaModel


def test_a_network_is_rebuilt_with_its_arguments() -> None:
    net = rebuild(NetworkSpec(target="lungdet.nets.luna.LunaModel", arguments={"conv_channels": 3, "n_classes": 1}))
    assert isinstance(net, LunaModel)
    assert (net.n_classes, net.block1.conv1.out_channels, net.training) == (1, 3, False)


def test_the_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    rebuild(NetworkSpec(target="lungdet.nets.luna.LunaModel", arguments={}))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("os.system", "only classes of lungdet.nets"),
        ("torch.nn.Linear", "only classes of lungdet.nets"),
        ("lungdet.cli.train.main", "only classes of lungdet.nets"),
        ("lungdet.nets.luna.LunaModel.forward", "only classes of lungdet.nets"),
        ("lungdet.nets..luna.LunaModel", "only classes of lungdet.nets"),
        ("lungdet.nets.luna.Fp32Linear", "luna defines no network 'Fp32Linear'"),  # imported there
        ("lungdet.nets.luna.Absent", "luna defines no network 'Absent'"),
        ("lungdet.nets.absent.Network", "this lungdet has no lungdet.nets.absent"),
        ("lungdet.nets.luna.initialise_as_the_book", "only classes of lungdet.nets"),
    ],
)
def test_only_networks_of_ours_are_built(target: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        rebuild(NetworkSpec(target=target, arguments={}))


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("lungdet.nets.luna.LunaModel", {"width": 3}, "no argument \\['width'\\]"),
        ("lungdet.nets.luna.LunaModel", {"n_classes": 7}, "cannot be built with .*n_classes must be 1"),
        ("lungdet.nets.luna.LunaModel", {"conv_channels": "8"}, "cannot be built with"),
        (
            "lungdet.nets.luna.LunaModel",
            {"conv_channels": {"_target_": "os.system"}},
            "the network is 'os.system'; only classes of lungdet.nets",
        ),
        ("lungdet.nets.luna.LunaModel", {"conv_channels": {"a": 1}}, "must be numbers, words or lists"),
        (
            "lungdet.nets.network_average.NetworkAverage",
            {"members": [{"_target_": "lungdet.nets.resnet3d.R3d18", "weights": "kinetics400"}]},
            "fetch no weights",
        ),
        ("lungdet.nets.resnet3d.R3d18", {"weights": "kinetics400"}, "fetch no weights"),
    ],
)
def test_arguments_are_checked(target: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        rebuild(NetworkSpec(target=target, arguments=arguments))


def test_initial_weights_are_not_part_of_a_card() -> None:
    node = {"_target_": "lungdet.nets.resnet3d.R3d18", "n_classes": 1, "weights": "kinetics400"}
    assert describe_network(node) == NetworkSpec(
        target="lungdet.nets.resnet3d.R3d18", arguments={"n_classes": 1, "weights": None}
    )
