"""Windows through whole networks, against plain forwards of the masked images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.explain.networks import with_statistics
from torch import Tensor, nn

from lungdet.errors import RunError, ShapeError
from lungdet.explain import window_steps
from lungdet.explain.incremental import Incremental
from lungdet.explain.regions import BoxRegions
from lungdet.explain.window_scores import changed_by, masked_versions
from lungdet.explain.window_steps import Local
from lungdet.explain.windows import Windowed
from lungdet.nets.backbone2d import Backbone2d
from lungdet.nets.image_views import ViewAverage
from lungdet.nets.luna import LunaModel
from lungdet.nets.network_average import NetworkAverage

NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lite0": (lambda: Backbone2d("tf_efficientnet_lite0", in_channels=1), (1, 97, 128)),
    "lite0, resized": (lambda: Backbone2d("tf_efficientnet_lite0", in_channels=1, resize_hw=(96, 96)), (1, 120, 128)),
    "lite0, as tasks lay it out": (
        lambda: Backbone2d("tf_efficientnet_lite0", in_channels=1).to(memory_format=torch.channels_last),
        (1, 96, 96),
    ),
    "resnet18": (lambda: Backbone2d("resnet18"), (3, 96, 75)),
    "densenet121": (lambda: Backbone2d("densenet121", in_channels=1), (1, 96, 96)),
    "squeeze and excitation": (lambda: Backbone2d("efficientnet_b0", in_channels=1), (1, 64, 64)),
    "views": (lambda: ViewAverage(Backbone2d("resnet18", in_channels=1), views="flip", center_crop=0.9), (1, 80, 80)),
    "average": (lambda: NetworkAverage([LunaModel(), LunaModel()]), (1, 16, 24, 17)),
    "luna": (LunaModel, (1, 32, 48, 35)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_windows_give_the_answers_of_whole_images(name: str) -> None:
    make, shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = with_statistics(make())
    image = torch.rand(1, *shape, generator=torch.Generator().manual_seed(1))
    found, expected = _both(network, image, _corners_and_middle(shape[1:], side=max(shape[1:]) // 6))
    difference, spread = (found - expected).abs().max(), expected.std(dim=0).max()
    assert difference <= 1e-5
    assert difference <= 0.01 * spread  # masks make little difference to random weights: a mistake has to show


def test_windows_are_small_where_maps_are_large() -> None:
    seen: list[tuple[int, ...]] = []

    class Watched(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images)

    network = nn.Sequential(Watched(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Flatten()).eval()
    incremental = Incremental(network, torch.rand(1, 1, 40, 40))
    local = [step for step in incremental.steps if isinstance(step, Local)]
    assert len(local) == 2
    for step in local:
        function = step.function

        def watched(cells: Tensor, padding: list[int], function: Callable[..., Tensor] = function) -> Tensor:
            seen.append(tuple(cells.shape))
            return function(cells, padding)

        object.__setattr__(step, "function", watched)
    image = torch.rand(1, 1, 40, 40)
    original = incremental.original(image)
    seen.clear()
    regions = BoxRegions(shape=(40, 40), size=(8, 8), corners=((0, 0), (16, 20), (32, 32)))
    incremental.outputs(original, _versions(image, regions))
    # 8 changed cells: 10 in the first output, each from 12; 12 in the second, from 14.
    assert seen == [(3, 1, 12, 12), (3, 4, 14, 14)]


def test_a_map_mostly_changed_is_computed_whole() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Conv2d(4, 1, 3, padding=1), nn.Flatten()).eval()
    image = torch.rand(1, 1, 20, 20)
    regions = BoxRegions(shape=(20, 20), size=(17, 17), corners=((0, 0), (3, 3)))
    found, expected = _both(network, image, regions)
    torch.testing.assert_close(found, expected)


def test_one_image_or_many() -> None:
    network = with_statistics(LunaModel())
    image = torch.rand(1, 1, 16, 16, 16)
    for n in (1, 5):
        regions = BoxRegions(shape=(16, 16, 16), size=(4, 4, 4), corners=tuple((k, 2 * k, 12 - k) for k in range(n)))
        found, expected = _both(network, image, regions)
        torch.testing.assert_close(found, expected)


def test_the_network_is_left_as_it_was() -> None:
    network = with_statistics(Backbone2d("resnet18"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    image = torch.rand(1, 3, 64, 64)
    _both(network, image, _corners_and_middle((64, 64), side=9))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_how_many_multiplications_windows_go_through() -> None:
    def share(*layers: nn.Module) -> float:
        return Incremental(nn.Sequential(*layers).eval(), torch.rand(1, 1, 8, 8)).share

    first = nn.Conv2d(1, 2, 3, padding=1)  # 64 x 2 x 9 multiplications an image
    assert share(first, nn.ReLU(), nn.Flatten()) == 1
    assert share(nn.GroupNorm(1, 1), first, nn.Flatten()) == 0
    # Then 64 x 2 x 2, a matrix of 128 x 3.
    assert share(first, nn.GroupNorm(1, 2), nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(128, 3)) == 1152 / 1792
    assert share(first, nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(128, 3)) == 1408 / 1792
    # Each of 16 x 16 cells sees one of 8 x 8, of one channel.
    assert share(first, nn.ConvTranspose2d(2, 2, 2, stride=2, groups=2), nn.Flatten()) == 1152 / (1152 + 256 * 2)
    assert share(nn.ReLU(), nn.Flatten()) == 1


def test_another_shape_is_refused() -> None:
    incremental = Incremental(LunaModel().eval(), torch.rand(1, 1, 16, 16, 16))
    with pytest.raises(ShapeError, match=r"one image \(1, 16, 16, 16\), got \(1, 1, 16, 16, 20\)"):
        incremental.original(torch.rand(1, 1, 16, 16, 20))


def test_what_is_kept_is_known() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1), nn.Flatten())
    original = Incremental(network.eval(), torch.rand(1, 1, 10, 10)).original(torch.rand(1, 1, 10, 10))
    # The image and the first map, each with a border of one cell; the last map, which is flattened.
    assert original.n_bytes == 4 * (12 * 12 + 4 * 12 * 12 + 10 * 10)


def test_networks_that_cannot_be_followed_are_refused() -> None:
    class Looks(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).sum(1, keepdim=True) * (2.0 if float(images.mean()) > 0.5 else 1.0)

    class Strided(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.relu(images).as_strided((len(images), 4), (64, 1))

    with pytest.raises(RunError, match="changes a tensor that something else may look at"):
        Incremental(nn.Sequential(nn.ReLU(inplace=True), nn.Flatten()).eval(), torch.rand(1, 1, 8, 8))
    with pytest.raises(RunError, match="depends on the values"):
        Incremental(Looks().eval(), torch.rand(1, 1, 8, 8))
    with pytest.raises(RunError, match="lies in memory"):
        Incremental(Strided().eval(), torch.rand(1, 1, 8, 8))


KINDS = ("convolution", "depthwise", "max", "average", "norm", "activation", "residual", "pad", "crop")
LAYERS: dict[int, tuple[Any, ...]] = {
    2: (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d, nn.BatchNorm3d),
}
ACTIVATIONS = (nn.ReLU(), nn.SiLU(), nn.Hardtanh(), nn.Sigmoid(), nn.GELU(), nn.Hardswish())


@st.composite
def layers_of_all_kinds(draw: st.DrawFn, n_axes: int, n_channels: int) -> nn.Sequential:
    """A few layers that windows pass, with odd kernels, paddings and strides."""
    convolution, max_pool, average_pool, norm = LAYERS[n_axes]
    layers: list[nn.Module] = []
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)):
        stride = tuple(draw(st.integers(1, 2)) for _ in range(n_axes))
        rounds_up, one, two = draw(st.booleans()), draw(st.integers(0, 1)), draw(st.integers(1, 2))
        if kind == "convolution":
            kernel = tuple(draw(st.integers(1, 3)) for _ in range(n_axes))
            padding = tuple(draw(st.integers(0, 2)) for _ in range(n_axes))
            layers.append(convolution(n_channels, n_channels + one, kernel, stride, padding, dilation=two))
            n_channels += one
        elif kind == "depthwise":
            layers.append(convolution(n_channels, 2 * n_channels, 3, stride, 1, groups=n_channels))
            n_channels *= 2
        elif kind == "max":
            layers.append(max_pool(3, stride, padding=one, dilation=two, ceil_mode=rounds_up))
        elif kind == "average":
            counted = draw(st.booleans())
            layers.append(average_pool(2, stride, padding=one, ceil_mode=rounds_up, count_include_pad=counted))
        elif kind == "norm":
            layers.append(norm(n_channels))
        elif kind == "activation":
            layers.append(draw(st.sampled_from(ACTIVATIONS)))
        elif kind == "residual":
            layers.append(Residual(convolution(n_channels, n_channels, 3, padding=1)))
        elif kind == "crop":
            layers.append(Cropped([draw(st.integers(-1, 1)) for _ in range(2 * n_axes)]))
        else:
            layers.append(nn.ZeroPad2d((1, 0, 2, 1)) if n_axes == 2 else nn.ConstantPad3d((0, 1, 2, 0, 1, 1), 0.5))
    return nn.Sequential(*layers, nn.Flatten())


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu_(self.inner(images) + images)


class Cropped(nn.Module):
    def __init__(self, amounts: list[int]) -> None:
        super().__init__()
        self.amounts = amounts

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.pad(images, self.amounts)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_axes=st.sampled_from([2, 3]), n_channels=st.integers(1, 3), side=st.integers(1, 5))
def test_any_small_network(data: st.DataObject, n_axes: int, n_channels: int, side: int) -> None:
    space = tuple(data.draw(st.integers(7, 16)) for _ in range(n_axes))
    corners = tuple(tuple(data.draw(st.integers(0, size - side)) for size in space) for _ in range(3))
    share = data.draw(st.sampled_from([0.6, 1.0]))
    with torch.random.fork_rng(devices=[]), pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(data.draw(st.integers(0, 99)))
        patch.setattr(window_steps, "LARGEST_SHARE", share)
        network = with_statistics(data.draw(layers_of_all_kinds(n_axes, n_channels)))
        image = torch.randn(1, n_channels, *space)
        try:
            network(image)
        except RuntimeError:  # nothing left after so many layers
            return
        found, expected = _both(network, image, BoxRegions(shape=space, size=(side,) * n_axes, corners=corners))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def _both(network: nn.Module, image: Tensor, regions: BoxRegions) -> tuple[Tensor, Tensor]:
    """Answers about the masked images by windows, and by the network."""
    masks = regions.masks(0, len(regions))[:, None]
    with torch.no_grad():
        expected = network(torch.where(masks, _fill(image), image))
    incremental = Incremental(network, image)
    return incremental.outputs(incremental.original(image), _versions(image, regions)), expected


def _versions(image: Tensor, regions: BoxRegions) -> Windowed:
    changed = changed_by(regions)
    members = np.arange(len(regions))
    return masked_versions(image[0], _fill(image)[0], regions, members=members, changed=changed)


def _fill(image: Tensor) -> Tensor:
    return torch.full_like(image, 0.25)


def _corners_and_middle(space: tuple[int, ...], *, side: int) -> BoxRegions:
    far = tuple(size - side for size in space)
    middle = tuple((size - side) // 2 for size in space)
    return BoxRegions(shape=space, size=(side,) * len(space), corners=((0,) * len(space), far, middle, (0, *far[1:])))
