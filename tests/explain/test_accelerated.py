from __future__ import annotations

import pytest
import torch
from tests.explain.networks import small_network
from torch import Tensor, nn

from lungdet.errors import ConfigError, RunError
from lungdet.explain.accelerated import accelerated
from lungdet.explain.fills import ImageMeanFill
from lungdet.explain.occlusion import occlude
from lungdet.explain.regions import SegmentRegions
from lungdet.explain.scores import class_probability
from lungdet.losses.classification import binary_logit


@pytest.mark.parametrize("shape", [(16, 20), (8, 10, 12)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_the_copy_occludes_as_the_network_does(shape: tuple[int, ...], n_channels: int) -> None:
    network = small_network(len(shape), in_channels=n_channels)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = torch.rand(2, n_channels, *shape, generator=torch.Generator().manual_seed(0))
    fast = accelerated(network, images)
    regions = [SegmentRegions((torch.arange(images[0, 0].numel()) % 5).reshape(shape))] * 2
    plain, quick = (
        occlude(
            class_probability(net, binary_logit),
            images,
            classes=torch.tensor([0, 1]),
            regions=regions,
            fill=ImageMeanFill(),
            batch_size=size,
        )
        for net, size in ((network, 1), (fast, 4))
    )
    for one, other in zip(plain, quick, strict=True):
        assert other.drop.tolist() == pytest.approx(one.drop.tolist(), abs=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_network_in_training_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"evaluation mode and on the CPU"):
        accelerated(small_network(2).train(), torch.rand(2, 1, 8, 8))


def test_a_network_that_changes_its_mind_is_found_out() -> None:
    class Moody(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            # A decision that tracing turns into a constant: the copy knows the branch of a traced call only.
            offset = 0.0 if torch.jit.is_tracing() else 1.0  # type: ignore[attr-defined, no-untyped-call]
            return images.flatten(1).mean(1, keepdim=True) + offset

    with pytest.raises(RunError, match=r"copy of Moody answers otherwise, by up to 1"):
        accelerated(Moody().eval(), torch.rand(2, 1, 8, 8))
