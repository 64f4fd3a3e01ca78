"""Haematoxylin and eosin: patches brought to one stain (Macenko), or their stain varied at random (Tellez).

Light is absorbed as Beer and Lambert say: optical density = -ln(value / white) is a sum of stain vectors (one density
per colour channel) times how much of each stain is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError

FloatArray = npt.NDArray[np.float64]
PixelArray = npt.NDArray[np.float32]

#: Densities of haematoxylin and eosin in red, green and blue, and the 99th percentiles of their amounts, in the slide
#: that Macenko's own code normalises to.
REFERENCE_STAINS = ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))
REFERENCE_AMOUNTS = (1.9705, 1.0308)
#: Haematoxylin, eosin and diaminobenzidine (Ruifrok and Johnston 2001).
HED_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])

# Of the real patches that were looked at, those with less tissue came out with grey glass, its faint tint multiplied.
_MIN_TISSUE_SHARE = 0.1
_MIN_ANGLE_DEG = 5.0


@dataclass(frozen=True)
class Stains:
    """What a patch is stained with.

    Attributes:
        vectors: float64 [2, 3], unit density of haematoxylin and eosin in red, green and blue.
        amounts: float64 [2], 99th percentile of how much of each there is.
    """

    vectors: FloatArray
    amounts: FloatArray


@dataclass(frozen=True, kw_only=True)
class MacenkoNormalise:
    """Re-stains a patch with reference stains, after Macenko et al. 2009, doi 10.1109/ISBI.2009.5193250.

    Deterministic. A patch whose two stains cannot be told (glass, fat, one stain only) is left as it is.

    Args:
        stains: reference vectors of haematoxylin and eosin, two times red, green, blue.
        amounts: 99th percentile of the amount of each in the reference.
        white: value of glass without tissue.
        density_floor: pixels with less density in any channel do not take part in finding the stains.
        percentile: of the stain direction, from both ends, that counts as pure stain.

    Raises:
        ConfigError: values out of range.
    """

    stains: Sequence[Sequence[float]] = REFERENCE_STAINS
    amounts: Sequence[float] = REFERENCE_AMOUNTS
    white: float = 240.0
    density_floor: float = 0.15
    percentile: float = 1.0

    def __post_init__(self) -> None:
        problems = []
        if [len(vector) for vector in self.stains] != [3, 3] or not np.all(np.asarray(self.stains) >= 0):
            problems.append(f"MacenkoNormalise.stains={self.stains} must be two vectors of three densities >= 0")
        if len(self.amounts) != 2 or not all(amount > 0 for amount in self.amounts):
            problems.append(f"MacenkoNormalise.amounts={self.amounts} must be two numbers > 0")
        if not 0 < self.white <= 255:
            problems.append(f"MacenkoNormalise.white={self.white} must be above 0 and at most 255; 240 is usual")
        if not self.density_floor >= 0:
            problems.append(f"MacenkoNormalise.density_floor={self.density_floor} must be >= 0; 0.15 is usual")
        if not 0 <= self.percentile < 50:
            problems.append(f"MacenkoNormalise.percentile={self.percentile} must be from 0 to below 50; 1 is usual")
        if problems:
            raise ConfigError(problems)

    def __call__(self, image: Tensor) -> Tensor:
        """Normalise uint8 [3, H, W], on the CPU.

        Raises:
            ShapeError: not three channels.
        """
        values = _colour_values(image)
        found = self.find(image)
        if found is None:
            return image
        # Apart, scaled and together again is one matrix on the densities.
        gain = np.diag(np.asarray(self.amounts) / found.amounts)
        restain = np.asarray(self.stains).T @ gain @ np.linalg.pinv(found.vectors.T)
        return _as_image(restain.astype(np.float32) @ _density(values, self.white), image, white=self.white)

    def find(self, image: Tensor) -> Stains | None:
        """The stains of uint8 [3, H, W]; None where they cannot be told."""
        density = _density(_colour_values(image), self.white)
        tissue = np.compress((density >= self.density_floor).all(axis=0), density, axis=1)
        if tissue.shape[1] < max(2, _MIN_TISSUE_SHARE * density.shape[1]):
            return None
        # The two directions with most variance span the plane that the two stains lie in.
        plane = np.linalg.eigh(np.cov(tissue))[1][:, [2, 1]]
        plane *= np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
        along, across = plane.T.astype(np.float32) @ tissue
        angles = np.arctan2(across, along)
        low, high = np.percentile(angles, [self.percentile, 100 - self.percentile])
        if high - low < math.radians(_MIN_ANGLE_DEG):
            return None
        ends = np.stack([plane @ (math.cos(angle), math.sin(angle)) for angle in (low, high)])
        # Haematoxylin is the one that takes more of the red.
        vectors = ends[np.argsort(-ends[:, 0])]
        amounts = np.percentile(np.linalg.pinv(vectors.T).astype(np.float32) @ density, 99, axis=1).astype(np.float64)
        return Stains(vectors, amounts) if (amounts > 0).all() else None


@dataclass(frozen=True)
class StainJitter:
    """Varies how strongly each stain took, after Tellez et al. 2018, doi 10.1109/TMI.2018.2820199.

    The patch is taken apart into haematoxylin, eosin and a rest (diaminobenzidine); each becomes
    scale x amount + shift with numbers of its own. Tellez et al. 2019 (doi 10.1016/j.media.2019.101544) call 0.05
    light and 0.2 strong.

    Args:
        scale: largest relative change of an amount; the factor is uniform in [1 - scale, 1 + scale].
        shift: largest change added to an amount, in natural units of density (0.05 darkens white by up to 12 levels).

    Raises:
        ConfigError: values out of range.
    """

    scale: float = 0.05
    shift: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.scale < 1 or not 0 <= self.shift < math.inf:
            raise ConfigError(
                [f"StainJitter: scale={self.scale} must be from 0 to below 1, shift={self.shift} >= 0; 0 is off"]
            )

    def __call__(self, image: Tensor) -> Tensor:
        """Vary uint8 [3, H, W], on the CPU, with torch's global generator.

        Raises:
            ShapeError: not three channels.
        """
        drawn = (2 * torch.rand(2, 3, dtype=torch.float64) - 1).numpy()
        return stained(image, scale=1 + self.scale * drawn[0], shift=self.shift * drawn[1])


def stained(image: Tensor, *, scale: npt.ArrayLike, shift: npt.ArrayLike) -> Tensor:
    """The patch with other amounts of haematoxylin, eosin and the rest.

    Args:
        image: uint8 [3, H, W], on the CPU.
        scale: [3], factor on each amount.
        shift: [3], added to each amount afterwards.

    Returns:
        uint8 [3, H, W].
    """
    # Apart, changed and together again is one matrix on the densities.
    mixing = HED_STAINS.T @ np.diag(np.asarray(scale, dtype=np.float64)) @ np.linalg.inv(HED_STAINS.T)
    offset = HED_STAINS.T @ np.asarray(shift, dtype=np.float64)
    density = mixing.astype(np.float32) @ _density(_colour_values(image), 255.0) + offset[:, None].astype(np.float32)
    return _as_image(density, image, white=255.0)


def _colour_values(image: Tensor) -> npt.NDArray[np.uint8]:
    """uint8 [3, H * W]."""
    if image.ndim != 3 or len(image) != 3:
        raise ShapeError(
            f"stains are of colour images [3, H, W], this is {list(image.shape)}; leave stain transforms out "
            "(data.augment.transforms.stain=null)"
        )
    values: npt.NDArray[np.uint8] = image.numpy().reshape(3, -1)
    return values


def _density(values: npt.NDArray[np.uint8], white: float) -> PixelArray:
    """-ln(value / white) by look-up, float32 [3, H * W]; 0 counts as 1, which is nearly as black."""
    table = -np.log(np.maximum(np.arange(256), 1) / white)
    return np.take(table.astype(np.float32), values)


def _as_image(density: PixelArray, like: Tensor, *, white: float) -> Tensor:
    values = np.exp(-density) * np.float32(white)
    return torch.from_numpy(np.rint(np.clip(values, 0, 255)).astype(np.uint8)).view(like.shape)
