from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.explain.networks import WeightedSum, small_network
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.fills import BlurFill, ConstantFill
from lungdet.explain.gradients import grad_cam, integrated_gradients
from lungdet.explain.layers import named_layer
from lungdet.explain.scores import class_logit
from lungdet.losses.classification import binary_logit

CLASSES = torch.tensor([1, 0, 1])


def images_of(shape: tuple[int, ...]) -> Tensor:
    return torch.rand(3, 1, *shape, generator=torch.Generator().manual_seed(5))


class Pooled(nn.Module):
    """Convolution, in-place ReLU, mean over space, linear: its class activation map can be written down."""

    def __init__(self, n_axes: int) -> None:
        super().__init__()
        convolution: type[nn.Module] = {2: nn.Conv2d, 3: nn.Conv3d}[n_axes]
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.features = nn.Sequential(convolution(1, 4, 3, padding=1), nn.ReLU(inplace=True))
            self.head = nn.Linear(4, 1)
        self.unused = nn.Linear(2, 2)
        self.requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.head(self.features(images).flatten(2).mean(2))
        return output


@pytest.mark.parametrize("shape", [(7, 9), (5, 6, 7)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("batch_size", [2, 16])
def test_grad_cam_of_a_pooled_network_by_formula(shape: tuple[int, ...], batch_size: int) -> None:
    """The gradient of a channel is its weight in the head over the number of pixels, everywhere the same."""
    network, images = Pooled(len(shape)).eval(), images_of(shape)
    layer = named_layer(network, "features.1")
    with torch.no_grad():  # gradients are taken whatever is around
        maps = grad_cam(class_logit(network, binary_logit), images, classes=CLASSES, layer=layer, batch_size=batch_size)
        activations = network.features(images)
    weights = network.head.weight[0] / images[0].numel()
    signs = 2 * CLASSES - 1
    expected = torch.einsum("bk...,k,b->b...", activations, weights, signs).clamp(min=0)
    assert float(expected.max()) > 0
    torch.testing.assert_close(maps, expected)


def test_grad_cam_before_an_in_place_activation() -> None:
    network, images = Pooled(2).eval(), images_of((6, 6))
    logit = class_logit(network, binary_logit)
    maps = grad_cam(logit, images, classes=CLASSES, layer=named_layer(network, "features.0"))
    before = network.features[0](images)
    slopes = (before > 0) * network.head.weight[0].view(1, -1, 1, 1) / 36 * (2 * CLASSES - 1).view(-1, 1, 1, 1)
    expected = (before * slopes.mean((2, 3), keepdim=True)).sum(1).clamp(min=0)
    torch.testing.assert_close(maps, expected)


@pytest.mark.parametrize("shape", [(8, 12), (8, 12, 10)], ids=["2-D", "3-D"])
def test_a_small_map_is_enlarged_to_the_image(shape: tuple[int, ...]) -> None:
    network, images = small_network(len(shape)), images_of(shape)
    maps = grad_cam(class_logit(network, binary_logit), images, classes=CLASSES, layer=named_layer(network, "3"))
    activations = network[:4](images)
    logits = binary_logit(network[4:](activations.clone())) * (2 * CLASSES - 1)
    (slopes,) = torch.autograd.grad(logits.sum(), activations)
    weighted = slopes.flatten(2).mean(2).view(3, -1, *(1,) * len(shape)) * activations
    small = weighted.sum(1).clamp(min=0).detach().numpy()
    expected = np.stack([ndimage.zoom(one, 2, order=1, grid_mode=True, mode="nearest") for one in small])
    assert expected.max() > 0.001
    np.testing.assert_allclose(maps.numpy(), expected, atol=1e-5)


def test_layers_that_have_no_map() -> None:
    network = Pooled(2).eval()
    logit = class_logit(network, binary_logit)
    with pytest.raises(ShapeError, match="2 spatial axes, Linear gave"):
        grad_cam(logit, images_of((6, 6)), classes=CLASSES, layer=network.head)
    with pytest.raises(ConfigError, match="without the layer Linear"):
        grad_cam(logit, images_of((6, 6)), classes=CLASSES, layer=network.unused)


@pytest.mark.parametrize("shape", [(5, 6), (3, 4, 5)], ids=["2-D", "3-D"])
def test_integrated_gradients_of_a_linear_network(shape: tuple[int, ...]) -> None:
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    logit = class_logit(WeightedSum(weights).eval(), binary_logit)
    images = images_of(shape)
    found = integrated_gradients(logit, images, classes=CLASSES, fill=ConstantFill((0.3,)), n_steps=5)
    signs = (2 * CLASSES - 1).view(-1, *(1,) * len(shape))
    torch.testing.assert_close(found.attribution, signs * weights * (images[:, 0] - 0.3), atol=1e-5, rtol=0)
    assert float(found.gap.abs().max()) < 1e-4


@pytest.mark.parametrize("shape", [(8, 12), (8, 8, 10)], ids=["2-D", "3-D"])
def test_integrated_gradients_add_up_to_the_change_of_the_logit(shape: tuple[int, ...]) -> None:
    logit = class_logit(small_network(len(shape)), binary_logit)
    images, fill = images_of(shape), BlurFill(2.0)
    found = integrated_gradients(logit, images, classes=CLASSES, fill=fill, n_steps=200, batch_size=64)
    with torch.no_grad():
        change = logit(images, CLASSES) - logit(fill(images), CLASSES)
    total = found.attribution.flatten(1).sum(1)
    assert float(change.abs().max()) > 0.02
    torch.testing.assert_close(total, change, atol=0.02 * float(change.abs().max()), rtol=0)
    torch.testing.assert_close(found.gap, total - change, atol=1e-5, rtol=0)


def test_the_batch_size_does_not_change_integrated_gradients() -> None:
    logit = class_logit(small_network(2, in_channels=3), binary_logit)
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(6))
    one, many = (
        integrated_gradients(logit, images, classes=CLASSES, fill=ConstantFill((0.0,)), n_steps=9, batch_size=size)
        for size in (2, 100)
    )
    assert one.attribution.shape == (3, 8, 8)
    torch.testing.assert_close(one.attribution, many.attribution, atol=1e-5, rtol=1e-5)


def test_no_steps_are_refused() -> None:
    logit = class_logit(small_network(2), binary_logit)
    with pytest.raises(ConfigError, match="n_steps=0"):
        integrated_gradients(logit, images_of((8, 8)), classes=CLASSES, fill=ConstantFill((0.0,)), n_steps=0)
