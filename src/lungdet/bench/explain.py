"""Occlusion of 8 pictures x about 100 superpixels (and of 3-D crops): one forward each, in batches, by windows."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor, nn

from lungdet.bench.rows import Contender, Row, interleave, rows
from lungdet.errors import RunError
from lungdet.explain.fills import ImageMeanFill
from lungdet.explain.occlusion import occlude
from lungdet.explain.regions import Regions
from lungdet.explain.scores import class_probability
from lungdet.explain.segments import slic_segments
from lungdet.explain.window_scores import WindowProbability, window_probability
from lungdet.nets.backbone2d import Backbone2d
from lungdet.nets.luna import LunaModel

FloatArray = npt.NDArray[np.float64]

ONE_BY_ONE = "one forward per segment"
LARGEST_DIFFERENCE = 1e-5
# By the axes of a batch. On two cores, a thread a batch, pictures went through 4 at a time at 73 images/s and 16 at a
# time at 56: more do not stay in the cache. Crops, and windows of pictures, are small enough.
_BATCH_SIZES = {4: 4, 5: 16}
_WINDOWS_AT_ONCE = 16


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Occluded images a second; the network is taken apart for windows anew in every round, and that counts.

    Raises:
        RunError: drops that are not equal to 1e-5.
    """
    n_images, n_volumes, rounds = (2, 1, 2) if quick else (8, 4, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        picture_net, volume_net = Backbone2d("tf_efficientnet_lite0", in_channels=1).eval(), LunaModel().eval()
    pictures = occlusion_rates(picture_net, smooth_noise((224, 224), n=n_images), rounds=rounds)
    volumes = occlusion_rates(volume_net, smooth_noise((32, 48, 48), n=n_volumes), rounds=rounds)
    return [
        *rows(pictures, section=_section("pictures 224 x 224", n_images), unit="images/s", baseline=ONE_BY_ONE),
        *rows(volumes, section=_section("crops 32 x 48 x 48", n_volumes), unit="images/s", baseline=ONE_BY_ONE),
    ]


def occlusion_rates(network: nn.Module, images: Tensor, *, rounds: int) -> dict[str, list[float]]:
    """Rates of all contenders, whose drops are compared afterwards.

    Args:
        network: in evaluation mode, with one output or two.
        images: float32 [B, 1, *space].
        rounds: how many are counted.

    Raises:
        RunError: drops that are not equal to 1e-5.
    """
    regions: list[Regions] = [slic_segments(image) for image in images]
    batched = network if images.ndim == 5 else copy.deepcopy(network).to(memory_format=torch.channels_last)
    batch_size = _BATCH_SIZES[images.ndim]
    ways: dict[str, Callable[[], FloatArray]] = {
        ONE_BY_ONE: lambda: one_by_one(network, images, regions),
        f"batches of {batch_size}": lambda: in_batches(batched, images, regions, batch_size),
        f"windows, batches of {_WINDOWS_AT_ONCE}": lambda: by_windows(network, images, regions, _WINDOWS_AT_ONCE),
    }
    drops: dict[str, FloatArray] = {}

    def timed(name: str) -> Contender:
        def run(number: int) -> float:
            started = time.perf_counter()
            drops[name] = ways[name]()
            return sum(map(len, regions)) / (time.perf_counter() - started)

        return run

    rates = interleave({name: timed(name) for name in ways}, rounds=rounds, warm_up=False)
    for name, found in drops.items():
        difference = float(np.abs(found - drops[ONE_BY_ONE]).max())
        if difference > LARGEST_DIFFERENCE:
            raise RunError(f"bench explain: the drops of '{name}' differ by {difference:.2g} from '{ONE_BY_ONE}'")
    return rates


def smooth_noise(shape: tuple[int, ...], *, n: int) -> Tensor:
    """Float32 [n, 1, *shape] in [0, 1]: noise of a scale that superpixels can follow."""
    generator = np.random.default_rng(0)
    images = np.stack([ndimage.gaussian_filter(generator.random(shape), min(shape) / 24) for _ in range(n)])
    scaled = (images - images.min()) / (images.max() - images.min())
    return torch.from_numpy(scaled.astype(np.float32))[:, None]


def one_by_one(network: nn.Module, images: Tensor, regions: Sequence[Regions]) -> FloatArray:
    """What a notebook does: occlude a segment, ask the network, go on. float64, all drops of all images."""
    fill_images, drops = ImageMeanFill()(images), []
    probability = class_probability(network, _logit)
    with torch.no_grad():
        for image, fill, parts, label in zip(images, fill_images, regions, _classes(images), strict=True):
            original = float(probability(image[None], label[None]))
            for n in range(len(parts)):
                occluded = torch.where(parts.masks(n, n + 1)[:, None], fill[None], image[None])
                drops.append(original - float(probability(occluded, label[None])))
    return np.array(drops)


def in_batches(network: nn.Module, images: Tensor, regions: Sequence[Regions], batch_size: int) -> FloatArray:
    """The same by this package, whole images at a time."""
    return _occlude(network, images, regions, batch_size=batch_size, windows=None)


def by_windows(network: nn.Module, images: Tensor, regions: Sequence[Regions], batch_size: int) -> FloatArray:
    """The same, where every layer computes only what a segment changes."""
    windows = window_probability(network, _logit, images[:1], batch_size=batch_size)
    return _occlude(network, images, regions, batch_size=batch_size, windows=windows)


def _occlude(
    network: nn.Module,
    images: Tensor,
    regions: Sequence[Regions],
    *,
    batch_size: int,
    windows: WindowProbability | None,
) -> FloatArray:
    found = occlude(
        class_probability(network, _logit),
        images,
        classes=_classes(images),
        regions=regions,
        fill=ImageMeanFill(),
        batch_size=batch_size,
        windows=windows,
    )
    return np.concatenate([drops.drop for drops in found])


def _classes(images: Tensor) -> Tensor:
    return torch.arange(len(images)) % 2


def _logit(outputs: Tensor) -> Tensor:
    return outputs[:, -1] - (outputs[:, 0] if outputs.shape[1] == 2 else 0)


def _section(what: str, n: int) -> str:
    return f"occlusion, {n} {what}, about 100 segments each"
