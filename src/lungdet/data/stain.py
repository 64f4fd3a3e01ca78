"""Haematoxylin and eosin: how strongly each stain took, varied at random in training (Tellez).

Patches are brought to one stain before they are stored, where that is wanted: `lungdet.store.stain`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError
from lungdet.store.stain import grey_values, optical_density

#: Densities of haematoxylin, eosin and diaminobenzidine in red, green and blue (Ruifrok and Johnston 2001).
HED_STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


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
    density = mixing.astype(np.float32) @ optical_density(_colour_values(image), white=255.0)
    values = grey_values(density + offset[:, None].astype(np.float32), white=255.0)
    return torch.from_numpy(values).view(image.shape)


def _colour_values(image: Tensor) -> npt.NDArray[np.uint8]:
    """uint8 [3, H * W]."""
    if image.ndim != 3 or len(image) != 3:
        raise ShapeError(
            f"stains are of colour images [3, H, W], this is {list(image.shape)}; leave stain transforms out "
            "(data.augment.transforms.stain=null)"
        )
    values: npt.NDArray[np.uint8] = image.numpy().reshape(3, -1)
    return values
