"""What a nodule is before it has a place: diameter, texture, margin, and how likely all three make it malignant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Texture = Literal["solid", "part_solid", "ground_glass", "cavitary"]
Margin = Literal["smooth", "lobulated", "spiculated"]
Attachment = Literal["isolated", "vessel", "pleura"]

TEXTURES: tuple[Texture, ...] = ("solid", "part_solid", "ground_glass", "cavitary")
MARGINS: tuple[Margin, ...] = ("smooth", "lobulated", "spiculated")
ATTACHMENTS: tuple[Attachment, ...] = ("isolated", "vessel", "pleura")

# Quantiles of the 1,186 LUNA16 diameters, placed so that the official classes come out: 502 below 6 mm, 403 from 6 to
# 10, 231 from 10 to 20, 48 from 20 to 30, 2 beyond.
_QUANTILES = np.cumsum([0, 502 * 0.22, 502 * 0.34, 502 * 0.44, 403 * 0.6, 403 * 0.4, 231 * 0.66, 231 * 0.34, 48, 2])
_DIAMETERS = np.log([3.25, 4.2, 5.0, 6.0, 7.6, 10.0, 14.4, 20.0, 30.0, 32.3])

# Log-odds of malignancy. Chosen, not fitted: large on margin and texture, so that diameter alone stays near .84 (see
# docs/phantom.md); the order (spiculated > lobulated > smooth, part-solid above solid, calcified benign) is that of the
# Brock model (McWilliams et al. 2013, doi:10.1056/NEJMoa1214726).
_PER_LOG_DIAMETER = 3.7
_OFFSET = -1.2
_OF_MARGIN = {"smooth": -0.9, "lobulated": 0.5, "spiculated": 2.2}
_OF_TEXTURE = {"solid": 0.0, "part_solid": 1.3, "ground_glass": -0.9, "cavitary": 0.7}
_OF_CALCIFICATION = -4.0
_REFERENCE_MM = 7.0
# What decides malignancy and is not in the image.
_UNSEEN = 0.7


@dataclass(frozen=True)
class Traits:
    """One nodule, without its place.

    Attributes:
        diameter_mm: of the sphere of equal volume.
        texture: of the inside; cavitary from 8 mm on.
        margin: of the outline.
        attachment: what it is meant to touch; the place found decides in the end.
        calcified: dense, benign.
        malignancy_logit: log-odds of malignancy from the traits above.
        suspicion: malignancy_logit plus what is not in the image; malignant when > 0.
    """

    diameter_mm: float
    texture: Texture
    margin: Margin
    attachment: Attachment
    calcified: bool
    malignancy_logit: float
    suspicion: float

    @property
    def is_malignant(self) -> bool:
        """The truth that the readers are noisy about."""
        return self.suspicion > 0


def draw_traits(rng: np.random.Generator, *, largest_mm: float) -> Traits:
    """One nodule. Diameters follow LUNA16, cut off at `largest_mm` (what fits into the lung)."""
    share = float(np.interp(np.log(largest_mm), _DIAMETERS, _QUANTILES / _QUANTILES[-1]))
    diameter = float(np.exp(np.interp(rng.uniform(0, share), _QUANTILES / _QUANTILES[-1], _DIAMETERS)))
    # Small nodules that three readers agree on are solid; a cavity needs a wall on both sides.
    not_solid = [0.0, 0.06, 0.0] if diameter < 5 else [0.12, 0.11, 0.08 if diameter >= 8 else 0.0]
    texture: Texture = TEXTURES[_draw(rng, [0.77, *not_solid])]
    calcified = texture == "solid" and diameter < 10 and rng.uniform() < 0.10
    odd = 0.35 if diameter < 5 else 0.55 if diameter < 10 else 0.7  # chance of a margin that is not smooth
    if texture == "ground_glass":
        odd *= 0.5
    margin: Margin = "smooth" if calcified else MARGINS[_draw(rng, [1 - odd, 0.5 * odd, 0.5 * odd])]
    attachment: Attachment = ATTACHMENTS[_draw(rng, [0.45, 0.30, 0.25])]
    logit = malignancy_logit(diameter, texture, margin, calcified=calcified)
    return Traits(diameter, texture, margin, attachment, calcified, logit, logit + float(rng.logistic(0, _UNSEEN)))


def malignancy_logit(diameter_mm: float, texture: Texture, margin: Margin, *, calcified: bool) -> float:
    """Log-odds of malignancy.

    Example:
        >>> smooth = malignancy_logit(8.0, "solid", "smooth", calcified=False)
        >>> spiculated = malignancy_logit(8.0, "solid", "spiculated", calcified=False)
        >>> spiculated > 0 > smooth
        True
    """
    size = _PER_LOG_DIAMETER * float(np.log(diameter_mm / _REFERENCE_MM))
    density = _OF_CALCIFICATION if calcified else _OF_TEXTURE[texture]
    return _OFFSET + size + _OF_MARGIN[margin] + density


def _draw(rng: np.random.Generator, weights: list[float]) -> int:
    return int(rng.choice(len(weights), p=np.divide(weights, sum(weights))))
