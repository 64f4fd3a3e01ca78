"""SLIC superpixels of a picture and supervoxels of a volume, the parts that superpixel occlusion removes in turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.regions import SegmentRegions, check_axes

# Lightness in Lab, in which RGB is clustered, goes to 100.
_LIGHTNESS = 100.0


def slic_segments(
    image: Tensor,
    *,
    n_segments: int = 100,
    compactness: float = 10.0,
    sigma: float = 1.0,
    spacing: Sequence[float] | None = None,
) -> SegmentRegions:
    """Cut one image into about `n_segments` connected parts of alike pixels; the same image gives the same parts.

    Intensities are scaled by the image's own smallest and largest value. Three channels of a picture are taken as RGB
    and clustered in Lab. Otherwise scikit-image would leave intensities in [0, 1], where a compactness of 10 draws a
    plain grid; here they count from 0 to 100, like the lightness that the published numbers were chosen for.

    Reference: Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", IEEE TPAMI 34(11),
    2012, doi:10.1109/TPAMI.2012.120.

    Args:
        image: float [C, H, W] or [C, D, H, W].
        n_segments: how many parts to aim at; what comes out lies near it.
        compactness: weight of distance against intensity; larger parts are rounder.
        sigma: Gaussian smoothing before, in pixels (divided by `spacing` along each axis).
        spacing: size of a pixel along each axis, for volumes with thick slices; None is the same along all.

    Returns:
        Parts numbered from 0 in scan order of their first pixel.

    Raises:
        ConfigError: numbers out of range.
        ShapeError: other axes, or values that are not finite.
    """
    check_axes(image.shape[1:])
    if n_segments < 1 or compactness <= 0 or sigma < 0:
        raise ConfigError(
            [
                f"n_segments={n_segments}, compactness={compactness}, sigma={sigma}: SLIC needs n_segments >= 1, "
                "compactness > 0 and sigma >= 0; type 100, 10 and 1"
            ]
        )
    if not bool(torch.isfinite(image).all()):
        raise ShapeError(f"an image {tuple(image.shape)} with values that are not finite cannot be segmented")
    from skimage.segmentation import slic

    is_rgb = image.ndim == 3 and len(image) == 3
    labels = slic(
        image.detach().cpu().double().numpy(),
        n_segments=n_segments,
        compactness=compactness if is_rgb else compactness / _LIGHTNESS,
        sigma=sigma,
        spacing=spacing,
        convert2lab=is_rgb,
        start_label=0,
        channel_axis=0,
    )
    # Joining small parts to their neighbours may leave gaps in the numbers.
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    in_scan_order = np.argsort(np.argsort(first))
    return SegmentRegions(torch.from_numpy(in_scan_order[numbers].reshape(labels.shape)))
