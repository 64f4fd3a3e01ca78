"""Haematoxylin and eosin: patches brought to one stain before they are stored (Macenko).

Light is absorbed as Beer and Lambert say: optical density = -ln(value / white) is a sum of stain vectors (one density
per colour channel) times how much of each stain is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lungdet.errors import StoreError

FloatArray = npt.NDArray[np.float64]
PixelArray = npt.NDArray[np.float32]

#: Densities of haematoxylin and eosin in red, green and blue, and the 99th percentiles of their amounts, in the slide
#: that Macenko's own code normalises to.
REFERENCE_STAINS = ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))
REFERENCE_AMOUNTS = (1.9705, 1.0308)

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
        StoreError: values out of range.
    """

    stains: Sequence[Sequence[float]] = REFERENCE_STAINS
    amounts: Sequence[float] = REFERENCE_AMOUNTS
    white: float = 240.0
    density_floor: float = 0.15
    percentile: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stains", tuple(tuple(float(v) for v in vector) for vector in self.stains))
        object.__setattr__(self, "amounts", tuple(float(amount) for amount in self.amounts))
        problems = []
        if [len(vector) for vector in self.stains] != [3, 3] or not np.all(np.asarray(self.stains) >= 0):
            problems.append(f"store.stain.stains={self.stains} must be two vectors of three densities >= 0")
        if len(self.amounts) != 2 or not all(amount > 0 for amount in self.amounts):
            problems.append(f"store.stain.amounts={self.amounts} must be two numbers > 0")
        if not 0 < self.white <= 255:
            problems.append(f"store.stain.white={self.white} must be above 0 and at most 255; 240 is usual")
        if not self.density_floor >= 0:
            problems.append(f"store.stain.density_floor={self.density_floor} must be >= 0; 0.15 is usual")
        if not 0 <= self.percentile < 50:
            problems.append(f"store.stain.percentile={self.percentile} must be from 0 to below 50; 1 is usual")
        if problems:
            raise StoreError("; ".join(problems))

    def __call__(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Normalise uint8 [H, W, 3].

        Raises:
            StoreError: not a colour image.
        """
        if image.ndim != 3 or image.shape[2] != 3:
            raise StoreError(
                f"stains are of colour images [H, W, 3], this is {list(image.shape)}; type data.store.stain=null"
            )
        found = self.find(image)
        if found is None:
            return image
        # Apart, scaled and together again is one matrix on the densities.
        gain = np.diag(np.asarray(self.amounts) / found.amounts)
        restain = np.asarray(self.stains).T @ gain @ np.linalg.pinv(found.vectors.T)
        density = restain.astype(np.float32) @ optical_density(image.reshape(-1, 3).T, white=self.white)
        return np.ascontiguousarray(grey_values(density, white=self.white).T).reshape(image.shape)

    def find(self, image: npt.NDArray[np.uint8]) -> Stains | None:
        """The stains of uint8 [H, W, 3]; None where they cannot be told."""
        density = optical_density(image.reshape(-1, 3).T, white=self.white)
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


def optical_density(values: npt.NDArray[np.uint8], *, white: float) -> PixelArray:
    """-ln(value / white) by look-up, float32 of the same shape; 0 counts as 1, which is nearly as black."""
    table = -np.log(np.maximum(np.arange(256), 1) / white)
    return np.take(table.astype(np.float32), values)


def grey_values(density: PixelArray, *, white: float) -> npt.NDArray[np.uint8]:
    """Inverse of `optical_density`, rounded: uint8 of the same shape."""
    values = np.exp(-density) * np.float32(white)
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
