from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from lungdet.errors import RunError, ShapeError
from lungdet.exports.calibrated import SigmoidOfLine, WithProbability
from lungdet.exports.card import NetworkCard
from lungdet.exports.frozen import FrozenNetwork

Net = tuple[nn.Module, NetworkCard]


def test_attributes_that_the_pipeline_reads(classifier: Net, slices: Net) -> None:
    volume, plane = FrozenNetwork(classifier[1], classifier[0]), FrozenNetwork(slices[1], slices[0])
    assert (volume.in_channels, volume.n_classes, hasattr(volume, "divisor")) == (1, 2, False)
    assert (plane.in_channels, plane.n_classes, plane.divisor) == (3, 1, 2)
    assert volume.memory_format == torch.contiguous_format


def test_a_volume_has_exactly_the_exported_shape(classifier: Net) -> None:
    net = FrozenNetwork(classifier[1], classifier[0])
    net.check_input(1, (24, 32, 32))
    with pytest.raises(ShapeError, match=r"exactly \(24, 32, 32\), \(24, 31, 32\) has 31 along y"):
        net(torch.zeros(1, 1, 24, 31, 32))
    with pytest.raises(ShapeError, match="takes 1 channel"):
        net.check_input(2, (24, 32, 32))
    with pytest.raises(ShapeError, match="axes"):
        net.check_input(1, (32, 32))


def test_slices_have_any_multiple(slices: Net) -> None:
    net = FrozenNetwork(slices[1], slices[0])
    assert net(torch.zeros(2, 3, 4, 34)).shape == (2, 1, 4, 34)
    with pytest.raises(ShapeError, match=r"multiple of 2 pixels, at least 4, .* has 5 along y"):
        net.check_input(3, (5, 8))
    with pytest.raises(ShapeError, match="has 2 along x"):
        net.check_input(3, (8, 2))


def test_autocast_is_left_outside(classifier: Net) -> None:
    seen: list[torch.dtype] = []

    def graph(x: Tensor) -> Tensor:
        seen.append(torch.nn.functional.conv3d(x, torch.ones(1, 1, 3, 3, 3)).dtype)
        return x

    with torch.autocast("cpu", torch.bfloat16):
        FrozenNetwork(classifier[1], graph)(torch.zeros(1, 1, 24, 32, 32, dtype=torch.bfloat16))
    assert seen == [torch.float32]


def test_the_probability_is_given_on_request(classifier: Net) -> None:
    """The pipeline sees the raw outputs alone, of old files and new ones."""
    net, card = classifier
    new = dataclasses.replace(card, second_output={"name": "probability"})
    image = torch.rand(2, 1, 24, 32, 32)
    loaded = FrozenNetwork(new, WithProbability(net, SigmoidOfLine()))
    with torch.inference_mode():
        outputs, probability = loaded.answers(image)
        assert torch.equal(loaded(image), outputs)
        torch.testing.assert_close(probability, outputs.softmax(dim=1)[:, 1])
        assert [answer.shape for answer in FrozenNetwork(card, net).answers(image)] == [(2, 2)]
        for wrong in (FrozenNetwork(new, net), FrozenNetwork(card, WithProbability(net, SigmoidOfLine()))):
            with pytest.raises(RunError, match="they belong to different exports; copy both again"):
                wrong(image)


def test_it_has_no_training_mode(classifier: Net) -> None:
    graph = classifier[0].eval()
    net = FrozenNetwork(classifier[1], graph).train()
    assert not net.training
    assert not graph.training
