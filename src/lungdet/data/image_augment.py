"""Augmentation of 2-D images: any torchvision.transforms.v2 named in YAML, with random numbers of the sample's own.

What happens to an image depends on (seed, epoch, draw number) only: `sample_seeds` hashes the three, and around each
image torch's global generator, which v2 draws from, is set to that seed and afterwards put back.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lungdet.data.counter_random import sample_keys
from lungdet.errors import ConfigError, ShapeError

Transform = Callable[[Tensor], Tensor]


def sample_seeds(draws: npt.NDArray[np.int64], *, seed: int, epoch: int) -> Tensor:
    """One seed per sample, different for every (seed, epoch, draw).

    Args:
        draws: int64 [B], draw numbers (see `EpochSampler`): a row shown twice in an epoch has two of them.
        seed: any integer.
        epoch: number of the epoch.

    Returns:
        int64 [B] on the CPU.
    """
    return torch.from_numpy(sample_keys(draws, seed=seed, epoch=epoch).view(np.int64).copy())


class ImageAugmentation:
    """Random changes of images before they reach the network, one image at a time, in the order given.

    A transform takes and gives a uint8 CPU tensor [C, H, W] and draws from torch's global generator, as all of
    torchvision.transforms.v2 do. What must also happen in evaluation (sizes, normalisation) has no place here.

    Args:
        transforms: name -> transform, so that each can be changed or nulled by its name
            (`data.augment.transforms.rotate=null`), or a plain list.

    Raises:
        ConfigError: something that cannot be called.
    """

    def __init__(self, transforms: Mapping[str, Transform | None] | Sequence[Transform | None]) -> None:
        named = transforms.items() if isinstance(transforms, Mapping) else enumerate(transforms)
        self.transforms: dict[str, Transform] = {str(name): t for name, t in named if t is not None}
        problems = [
            f"data.augment.transforms.{name}={transform!r} is not a transform; give a node such as "
            "{_target_: torchvision.transforms.v2.RandomHorizontalFlip}, or null"
            for name, transform in self.transforms.items()
            if not callable(transform)
        ]
        if problems:
            raise ConfigError(problems)

    def __call__(self, image: Tensor, *, seed: int) -> Tensor:
        """Augment one image.

        Args:
            image: uint8 [C, H, W], on the CPU; not changed.
            seed: decides everything that is random.

        Returns:
            uint8 [C, H', W'].

        Raises:
            ConfigError: a transform changed dtype or channels.
        """
        return self.apply(image[None], torch.tensor([seed]))[0]

    @torch.no_grad()
    def apply(self, images: Tensor, seeds: Tensor) -> Tensor:
        """Augment a batch; each image comes out as it would alone.

        Args:
            images: uint8 [B, C, H, W], on the CPU; not changed.
            seeds: int64 [B], of `sample_seeds`.

        Returns:
            uint8 [B, C, H', W'].

        Raises:
            ConfigError: a transform changed dtype or channels, or gave images of different sizes.
        """
        if not self.transforms or not len(images):
            return images.clone()
        generator = torch.default_generator
        # The CPU's generator alone, once per batch: 5 us, where fork_rng and manual_seed around every image take 190.
        before = generator.get_state()
        try:
            augmented = [self._one(image, seed, generator) for image, seed in zip(images, seeds.tolist(), strict=True)]
        finally:
            generator.set_state(before)
        sizes = sorted({tuple(image.shape[1:]) for image in augmented})
        if len(sizes) > 1:
            shown = " and ".join(f"{height} x {width}" for height, width in sizes[:2])
            raise ConfigError(
                [f"data.augment.transforms: images of one batch come out as {shown}; end with a crop of fixed size"]
            )
        return torch.stack(augmented)

    def _one(self, image: Tensor, seed: int, generator: torch.Generator) -> Tensor:
        generator.manual_seed(seed)
        for name, transform in self.transforms.items():
            given, image = image, transform(image)
            if image.dtype != torch.uint8 or image.ndim != 3 or len(image) != len(given):
                raise ConfigError(
                    [
                        f"data.augment.transforms.{name}: made {image.dtype} {list(image.shape)} of torch.uint8 "
                        f"{list(given.shape)}; allowed are uint8 images with the channels they came with (dtype and "
                        f"normalisation are the network's business). Type data.augment.transforms.{name}=null"
                    ]
                )
        return image


@dataclass(frozen=True)
class RotateWithEdges:
    """Random rotation about the middle that keeps the size; what comes from outside repeats the border.

    v2.RandomRotation fills corners with one value: dark wedges that a network can learn to rely on.

    Args:
        degrees: largest angle, uniform in +- that; 0 to 180.

    Raises:
        ConfigError: out of range.
    """

    degrees: float

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ConfigError([f"RotateWithEdges.degrees={self.degrees} must be from 0 to 180; 0 is off"])

    def __call__(self, image: Tensor) -> Tensor:
        """Rotate uint8 [C, H, W], bilinear."""
        angle_deg = self.degrees * (2 * torch.rand(()).item() - 1)
        return rotate_with_edges(image, angle_deg)


@dataclass(frozen=True)
class QuarterTurns:
    """Random rotation by 0, 90, 180 or 270 degrees; with a random flip, all eight symmetries of the square."""

    def __call__(self, image: Tensor) -> Tensor:
        """Turn uint8 [C, H, H].

        Raises:
            ShapeError: not square.
        """
        if image.shape[-1] != image.shape[-2]:
            raise ShapeError(
                f"data.augment: QuarterTurns needs square images, these are {image.shape[-2]} high and "
                f"{image.shape[-1]} wide; use RotateWithEdges, or store square images"
            )
        return torch.rot90(image, int(torch.randint(4, ())), dims=(-2, -1))


@dataclass(frozen=True)
class RandomGamma:
    """Brightness curve (v / 255) ** gamma * 255, gamma log-uniform in [low, high]: below 1 lighter, above 1 darker.

    Args:
        low: > 0.
        high: >= low.

    Raises:
        ConfigError: out of range.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < math.inf:
            raise ConfigError([f"RandomGamma: low={self.low}, high={self.high} must be 0 < low <= high; try 0.8, 1.25"])

    def __call__(self, image: Tensor) -> Tensor:
        """Apply to uint8 [C, H, W]."""
        gamma = self.low * (self.high / self.low) ** torch.rand(()).item()
        # 256 powers and a look-up: half the time of a power per pixel.
        curve = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
        return torch.from_numpy(np.take(curve, image.numpy()))


@dataclass(frozen=True)
class JpegCompression:
    """Saved as JPEG at a random quality and read again; torchvision's own is on its way out (deprecated in 0.29).

    Args:
        low: worst quality, 1 to 100.
        high: best quality, `low` to 100.

    Raises:
        ConfigError: values out of range.
    """

    low: int = 30
    high: int = 90

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high <= 100:
            raise ConfigError([f"JpegCompression: low={self.low}, high={self.high} must be 1 <= low <= high <= 100"])

    def __call__(self, image: Tensor) -> Tensor:
        """Compress uint8 [1 or 3, H, W]."""
        quality = int(torch.randint(self.low, self.high + 1, ()))
        grey = len(image) == 1
        pixels = image[0].numpy() if grey else image.permute(1, 2, 0).contiguous().numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="JPEG", quality=quality)
        read = torch.from_numpy(np.array(Image.open(buffer)))
        return read[None] if grey else read.permute(2, 0, 1).contiguous()


def rotate_with_edges(image: Tensor, angle_deg: float) -> Tensor:
    """Rotate counter-clockwise (as seen on a screen) about the middle, border pixels repeated outside.

    Args:
        image: uint8 [C, H, W].
        angle_deg: in degrees.

    Returns:
        uint8 [C, H, W].
    """
    height, width = image.shape[-2:]
    cosine, sine = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    # Where an output pixel looks, in units of half the width and half the height (align_corners=False).
    matrix = torch.tensor([[cosine, -sine * height / width, 0.0], [sine * width / height, cosine, 0.0]])
    grid = F.affine_grid(matrix[None], [1, 1, height, width], align_corners=False)
    rotated = F.grid_sample(image[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return rotated[0].round_().to(torch.uint8)
