"""Attributions from gradients of the true class's logit, through Captum: Grad-CAM and integrated gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.fills import Fill
from lungdet.explain.masked_scores import check_batch, in_batches
from lungdet.explain.scores import ClassScore

_INTERPOLATION = {2: "bilinear", 3: "trilinear"}


def grad_cam(logit: ClassScore, images: Tensor, *, classes: Tensor, layer: nn.Module, batch_size: int = 16) -> Tensor:
    """Grad-CAM: the channels of one layer, weighted by their mean gradient, the positive part, enlarged to the image.

    Reference: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization",
    ICCV 2017, doi:10.1109/ICCV.2017.74.

    Args:
        logit: of the class asked for, of the network that `layer` belongs to (`scores.class_logit`).
        images: float32 [B, C, H, W] or [B, C, D, H, W], as the network takes them.
        classes: int64 [B], the true class of each.
        layer: a module whose output is [B, channels, *space]; as a rule `layers.last_convolution`.
        batch_size: images per forward pass.

    Returns:
        float32 [B, *space of the image], >= 0, in units of the logit.

    Raises:
        ConfigError: no batch size, a network in training mode, or a layer that the network did not use.
        ShapeError: shapes that do not fit, or a layer whose output has no spatial axes.
    """
    check_batch(images, classes, batch_size=batch_size)
    from captum.attr import LayerGradCam

    method = LayerGradCam(logit, layer)
    maps = []
    with torch.enable_grad():
        for some, of_class in in_batches(images, classes, batch_size=batch_size):
            try:
                small = method.attribute(some, additional_forward_args=(of_class,), relu_attributions=True)
            except AssertionError as error:
                if "hook" not in str(error):  # Captum's word for a layer that was never called
                    raise
                raise ConfigError(
                    [f"the network gives its answer without the layer {type(layer).__name__}; choose another"]
                ) from error
            if small.ndim != images.ndim:
                raise ShapeError(
                    f"Grad-CAM needs a layer with {images.ndim - 2} spatial axes, {type(layer).__name__} gave "
                    f"{tuple(small.shape)} (channels summed): choose a convolution before the pooling"
                )
            mode = _INTERPOLATION[images.ndim - 2]
            large = F.interpolate(small.detach().float(), size=images.shape[2:], mode=mode, align_corners=False)
            maps.append(large[:, 0])
    return torch.cat(maps)


@dataclass(frozen=True)
class IntegratedGradients:
    """What integrated gradients give.

    Args:
        attribution: float32 [B, *space], signed, summed over channels.
        gap: float32 [B], the attribution's sum minus the difference that it explains, logit(image) - logit(fill). Far
            from 0, `n_steps` was too small.
    """

    attribution: Tensor
    gap: Tensor


def integrated_gradients(
    logit: ClassScore,
    images: Tensor,
    *,
    classes: Tensor,
    fill: Fill,
    n_steps: int = 50,
    batch_size: int = 16,
) -> IntegratedGradients:
    """Gradients along the straight way from the fill to the image, times the way.

    Reference: Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, arXiv:1703.01365.

    Args:
        logit: of the class asked for (`scores.class_logit`).
        images: float32 [B, C, H, W] or [B, C, D, H, W], as the network takes them.
        classes: int64 [B], the true class of each.
        fill: makes the baseline.
        n_steps: points of the Gauss-Legendre rule on the way.
        batch_size: points per forward pass.

    Raises:
        ConfigError: no batch size, no steps, or a network in training mode.
        ShapeError: shapes that do not fit.
    """
    check_batch(images, classes, batch_size=batch_size)
    if n_steps < 1:
        raise ConfigError([f"n_steps={n_steps}: integrated gradients need at least one step; 50 is usual"])
    from captum.attr import IntegratedGradients as Method

    method = Method(logit)
    attributions, gaps = [], []
    with torch.enable_grad():
        for some, of_class in in_batches(images, classes, batch_size=batch_size):
            attribution, gap = method.attribute(
                some,
                baselines=fill(some),
                additional_forward_args=(of_class,),
                n_steps=n_steps,
                internal_batch_size=batch_size,
                return_convergence_delta=True,
            )
            attributions.append(attribution.detach().float().sum(1))
            gaps.append(gap.detach().float())
    return IntegratedGradients(attribution=torch.cat(attributions), gap=torch.cat(gaps))
