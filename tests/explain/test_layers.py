from __future__ import annotations

import pytest
import torch
from tests.explain.networks import small_network
from torch import Tensor, nn

from lungdet.errors import ConfigError
from lungdet.explain.layers import last_convolution, named_layer


class Gated(nn.Module):
    """Registered in another order than called, with a gate and a classifier that are convolutions on one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(4, 1, 1)
        self.last = nn.Conv2d(4, 4, 3, padding=1)
        self.gate = nn.Conv2d(4, 4, 1)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.unused = nn.Conv2d(1, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = self.last(self.first(images))
        features = features * torch.sigmoid(self.gate(features.mean((2, 3), keepdim=True)))
        logits: Tensor = self.classifier(features.mean((2, 3), keepdim=True)).flatten(1)
        return logits


def test_the_last_convolution_that_still_sees_space() -> None:
    assert last_convolution(Gated().eval(), torch.rand(1, 1, 6, 6)) == "last"


@pytest.mark.parametrize("n_axes", [2, 3])
def test_hooks_are_taken_off_again(n_axes: int) -> None:
    network = small_network(n_axes)
    assert last_convolution(network, torch.rand(1, 1, *(8,) * n_axes)) == "3"
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_without_one_says_what_to_type() -> None:
    with pytest.raises(ConfigError, match=r"explain\.layer: Sequential has no convolution.*explain=superpixel"):
        last_convolution(nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).eval(), torch.rand(1, 1, 4, 4))


def test_a_layer_by_name() -> None:
    network = Gated()
    assert named_layer(network, "gate") is network.gate
    with pytest.raises(ConfigError, match=r"no module 'gaet'; did you mean 'gate'"):
        named_layer(network, "gaet")
    with pytest.raises(ConfigError, match="it has classifier, last, gate, first, unused"):
        named_layer(network, "backbone.layer4")
