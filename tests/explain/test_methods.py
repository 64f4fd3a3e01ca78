"""Every method finds the one quarter that a hand-made network looks at, in pictures and volumes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.explain.networks import small_network, top_left_mean
from torch import Tensor, nn

from lungdet.errors import ConfigError
from lungdet.explain.fills import ConstantFill
from lungdet.explain.gradients import grad_cam, integrated_gradients
from lungdet.explain.layers import named_layer
from lungdet.explain.methods import Attribution, GradCam, IntegratedGradients, Method, Occlusion
from lungdet.explain.occlusion import occlude
from lungdet.explain.region_rules import Quadrants
from lungdet.explain.scores import Classifier
from lungdet.losses.classification import binary_logit

SHAPES = pytest.mark.parametrize("shape", [(8, 12), (8, 8, 12)], ids=["2-D", "3-D"])
BLACK = ConstantFill((0.0,))


class Pooled(nn.Module):
    """Looks at the first quarter through a convolution that changes nothing."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[len(shape)]
        self.convolution = convolution(1, 1, 1)
        nn.init.ones_(self.convolution.weight)
        nn.init.zeros_(self.convolution.bias)  # type: ignore[arg-type]
        self.sum = top_left_mean(shape)

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(images)
        logit: Tensor = self.sum(features)
        return logit


def method_named(name: str, **more: Any) -> Method:
    kinds: dict[str, Callable[..., Method]] = {"occlusion": Occlusion, "gradcam": GradCam, "ig": IntegratedGradients}
    return kinds[name](name=name, regions=Quadrants(), fill=BLACK, batch_size=3, **more)


def attributed(method: Method, network: nn.Module, images: Tensor, classes: Tensor) -> list[Attribution]:
    regions = [method.regions(image) for image in images]
    classifier = Classifier(network.eval(), binary_logit)
    return method.attribute(classifier, images, classes=classes, regions=regions, fill=BLACK)


@SHAPES
@pytest.mark.parametrize("name", ["occlusion", "ig"])
def test_the_first_part_is_the_only_one_that_counts(name: str, shape: tuple[int, ...]) -> None:
    images = torch.ones(2, 1, *shape)
    for_one, for_zero = attributed(method_named(name), Pooled(shape), images, torch.tensor([1, 0]))
    worth = {"occlusion": float(torch.sigmoid(torch.tensor(1.0))) - 0.5, "ig": 1.0}[name]
    expected = np.zeros(2 ** len(shape))
    expected[0] = worth
    np.testing.assert_allclose(for_one.importance, expected, atol=1e-6)
    np.testing.assert_allclose(for_zero.importance, -expected, atol=1e-6)
    pixels = for_one.pixels
    corner = tuple(slice(side // 2) for side in shape)
    assert float(pixels[corner].min()) > 0
    assert int((pixels.abs() > 1e-7).sum()) == pixels[corner].numel()


@SHAPES
def test_what_each_method_hands_on(shape: tuple[int, ...]) -> None:
    network, classes = small_network(len(shape)), torch.tensor([1, 0])
    images = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(3))
    classifier = Classifier(network, binary_logit)
    regions = [Quadrants()(image) for image in images]
    drops = occlude(classifier.probability, images, classes=classes, regions=regions, fill=BLACK)
    by_occlusion = attributed(method_named("occlusion", rank_by="abs_drop"), network, images, classes)
    by_cam = attributed(method_named("gradcam", layer="0"), network, images, classes)
    by_gradients = attributed(method_named("ig", n_steps=9), network, images, classes)
    cams = grad_cam(classifier.logit, images, classes=classes, layer=named_layer(network, "0"))
    gradients = integrated_gradients(classifier.logit, images, classes=classes, fill=BLACK, n_steps=9)
    for n, masks in enumerate(part.masks(0, len(part)) for part in regions):
        found, cam, slope = by_occlusion[n], by_cam[n], by_gradients[n]
        np.testing.assert_allclose(found.importance, np.abs(drops[n].drop), atol=1e-6)
        assert float(found.density.sum()) == pytest.approx(drops[n].drop.sum(), abs=1e-5)
        torch.testing.assert_close(cam.pixels, cams[n])
        torch.testing.assert_close(slope.pixels, gradients.attribution[n], atol=1e-6, rtol=1e-4)
        assert slope.gap == pytest.approx(float(gradients.gap[n]), abs=1e-5)
        sums = np.array([float(cams[n][mask].sum()) for mask in masks])
        np.testing.assert_allclose(cam.importance, sums, atol=1e-5)


def test_grad_cam_finds_its_layer() -> None:
    images, classes = torch.rand(1, 1, 8, 8), torch.tensor([1])
    chosen = attributed(method_named("gradcam"), small_network(2), images, classes)
    named = attributed(method_named("gradcam", layer="3"), small_network(2), images, classes)
    assert torch.equal(chosen[0].pixels, named[0].pixels)


def test_a_layer_is_looked_into_once_where_views_are_averaged() -> None:
    class Mirrored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small_network(2)

        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([self.net(images), self.net(images.flip(3))]).mean(0)

    network = Mirrored().eval()
    images, classes = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([1])
    method = method_named("gradcam")
    regions = [method.regions(images[0])]
    classifier = Classifier(network, binary_logit, single=network.net)
    found = method.attribute(classifier, images, classes=classes, regions=regions, fill=BLACK)
    alone = attributed(method, network.net, images, classes)
    assert torch.equal(found[0].pixels, alone[0].pixels)
    copied = copy.deepcopy(network)
    other = classifier.of_copy(copied)
    assert other.single is copied.net
    assert other.network is copied
    assert Classifier(network, binary_logit).of_copy(copied).single_look is copied


@pytest.mark.parametrize(
    ("more", "message"),
    [({"batch_size": 0}, r"explain\.batch_size=0"), ({"name": "a/b"}, "names a folder"), ({"name": ""}, "folder")],
)
def test_settings_out_of_range(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Occlusion(**{"name": "x", "regions": Quadrants(), "fill": BLACK, **more})
