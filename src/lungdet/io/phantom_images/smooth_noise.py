"""Smooth random fields: textures, ragged outlines and grain of the simulated images."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt


def smooth_noise(random: np.random.Generator, size_hw: tuple[int, int], length: float) -> npt.NDArray[np.float32]:
    """Noise of standard deviation 1.

    Args:
        random: what it is drawn from.
        size_hw: pixels.
        length: of its structures, as a part of the longer side; below a pixel the noise is white.

    Returns:
        float32 [H, W].
    """
    sigma = length * max(size_hw)
    if sigma < 1:
        return random.standard_normal(size_hw, dtype=np.float32)
    # Few white numbers, drawn out to the whole image: a tenth of the time of a wide blur.
    coarse = [int(np.ceil(n / (1.5 * sigma))) + 2 for n in size_hw]
    white = random.standard_normal(coarse, dtype=np.float32)
    smooth = cv2.resize(white, size_hw[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth / smooth.std(), dtype=np.float32)
