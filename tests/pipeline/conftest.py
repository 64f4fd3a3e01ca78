"""Small scans, networks with known behaviour, and the plain reference of the book's run."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import scipy.ndimage
import torch
from torch import Tensor, nn

from lungdet.bench.baselines import book_detect
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.nets.luna import LunaModel
from lungdet.nets.unet import SliceUNet

ChestMaker = Callable[..., Scan]
NoiseMaker = Callable[..., Scan]


@pytest.fixture(scope="session")
def book_reference() -> ModuleType:
    """The seed book's program, written plainly."""
    return book_detect


@pytest.fixture(scope="session")
def noise_scan() -> NoiseMaker:
    """Makes a scan of smooth noise between -1,400 and 1,400 HU."""

    def make(shape: tuple[int, int, int], *, seed: int = 0, geometry: Geometry | None = None, sigma: float = 2) -> Scan:
        noise = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma)
        hu = np.rint(noise / np.abs(noise).max() * 1400).astype(np.int16)
        geometry = geometry or Geometry(shape, (-31.25, 17.5, -208.0), (0.703125, 0.703125, 1.25))
        return Scan(hu, geometry, f"noise.{seed}")

    return make


@pytest.fixture(scope="session")
def chest_scan() -> ChestMaker:
    """Makes a body with two lungs and bright balls; `balls` are (z, y, x, diameter) in mm from the volume's middle."""

    def make(
        *,
        shape: tuple[int, int, int] = (48, 96, 96),
        spacing_zyx_mm: tuple[float, float, float] = (2.0, 2.0, 2.0),
        balls: tuple[tuple[float, float, float, float], ...] = (),
        lungs: bool = True,
        seed: int = 0,
    ) -> Scan:
        axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing_zyx_mm, strict=True)]
        z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
        hu = np.full(shape, -1000.0)
        hu[np.broadcast_to((y / 85) ** 2 + (x / 88) ** 2 < 1, shape)] = 40.0
        if lungs:
            for side in (-1, 1):
                hu[(z / 42) ** 2 + (y / 55) ** 2 + ((x - side * 40) / 30) ** 2 < 1] = -850.0
        for bz, by, bx, diameter in balls:
            hu[(z - bz) ** 2 + (y - by) ** 2 + (x - bx) ** 2 < (diameter / 2) ** 2] = 30.0
        hu += np.random.default_rng(seed).normal(0, 15, shape)
        sz, sy, sx = spacing_zyx_mm
        first = [float(axis[0]) for axis in axes]
        geometry = Geometry(shape, (first[2], first[1], first[0]), (sx, sy, sz))
        return Scan(np.rint(hu).astype(np.int16), geometry, "chest")

    return make


@pytest.fixture
def segmenter() -> SliceUNet:
    """A random UNet of the book's shape, in evaluation mode, whose batch norms do something."""
    torch.manual_seed(5)
    net = SliceUNet(first_width=4)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    net.input_batchnorm.running_var = torch.full((7,), 3e5)
    return net.eval()


@pytest.fixture
def classifier() -> LunaModel:
    """A small random LunaModel in evaluation mode whose probabilities spread."""
    torch.manual_seed(6)
    net = LunaModel(conv_channels=2)
    net.tail_batchnorm.running_var = torch.full((1,), 2e5)
    nn.init.normal_(net.head_linear.weight, std=0.1)
    return net.eval()


class BrightTissue(nn.Module):
    """A segmenter without training: the middle slice's HU against a level, 100 HU per unit of logit."""

    in_channels = 7
    divisor = 1

    def __init__(self, level_hu: float = -400.0) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level_hu))

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, 3:4] - self.level) / 100


class MeanDensity(nn.Module):
    """A classifier without training: how far the middle of the crop is above a level, 100 HU per unit of logit."""

    def __init__(self, level_hu: float = -300.0, n_classes: int = 1) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level_hu))
        self.n_classes = n_classes

    def forward(self, x: Tensor) -> Tensor:
        z, y, x_ = (n // 2 for n in x.shape[2:])
        logit = (x[:, :, z, y, x_] - self.level) / 100
        return logit if self.n_classes == 1 else torch.cat([-logit / 2, logit / 2], dim=1)


@pytest.fixture
def bright_tissue() -> type[BrightTissue]:
    return BrightTissue


@pytest.fixture
def mean_density() -> type[MeanDensity]:
    return MeanDensity
