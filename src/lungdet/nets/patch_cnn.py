"""The notebooks' small network for histopathology patches: three convolution blocks and a hidden layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lungdet.nets.head import Fp32Linear
from lungdet.nets.image_input import ImageInput
from lungdet.nets.image_shape import check_image
from lungdet.nets.input_shape import check_classes

_CHANNELS = (32, 64, 128)
_HIDDEN = 256
# Cells per axis that the last feature map is averaged to: of a 96-pixel patch the middle one covers the central
# 32 x 32 pixels, which are what PatchCamelyon's label speaks of.
_POOLED = 3
_MINIMUM = 8 * _POOLED


class PatchCnn(nn.Module):
    """Three blocks (conv 3, batch norm, ReLU, max-pool 2) of 32, 64 and 128 channels, then 256 hidden units.

    Two things differ from the notebooks, which flattened the feature map of a 96-pixel patch and ended in a sigmoid:
    the map is averaged to 3 x 3 cells first, so images of any size from 24 pixels get in and the head has 295 thousand
    weights instead of 4.7 million; and the outputs are logits. Pooling rounds up, so no border pixel is ignored.

    Reference: Veeling et al., "Rotation Equivariant CNNs for Digital Pathology", MICCAI 2018,
    doi:10.1007/978-3-030-00934-2_24 (PatchCamelyon).

    Args:
        in_channels: channels of the input; 3 for RGB.
        n_classes: 1 for one logit, 2 for a softmax pair.
        dropout: probability of dropping one of the 256 hidden units.
        resize_hw: size that images are resized to first; None leaves them as they are.

    Attributes:
        input: resizes, and normalises by mean and deviation of the collection, which training tells it.

    Raises:
        ShapeError: `n_classes` is neither 1 nor 2.
    """

    memory_format: torch.memory_format = torch.channels_last

    def __init__(
        self, in_channels: int = 3, n_classes: int = 1, dropout: float = 0.5, resize_hw: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        check_classes("PatchCnn", n_classes)
        self.in_channels = in_channels
        self.n_classes = n_classes
        # The middle of the grey scale, until `fit_input_moments` knows better.
        self.input = ImageInput([0.5] * in_channels, [0.5] * in_channels, resize_hw=resize_hw)
        first, second, third = _CHANNELS
        self.block1 = _block(in_channels, first)
        self.block2 = _block(first, second)
        self.block3 = _block(second, third)
        self.pool = nn.AdaptiveAvgPool2d(_POOLED)
        self.head = nn.Sequential(
            nn.Linear(third * _POOLED**2, _HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            Fp32Linear(_HIDDEN, n_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, H, W] in [0, 1] -> logits float32 [B, n_classes]."""
        features = self.block3(self.block2(self.block1(self.input(x))))
        logits: Tensor = self.head(self.pool(features).flatten(1))
        return logits

    def fit_input_moments(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Normalise by the collection's mean and deviation of each channel from now on (`ImageInput.set_moments`)."""
        self.input.set_moments(mean, std)

    def check_input(self, channels: int, shape: Sequence[int]) -> None:
        """Accept any (H, W) from 24 pixels per axis: three poolings then leave the 3 x 3 cells of the head.

        Raises:
            ShapeError: other channels, not two axes, or an axis below 24; the message names the axis.
        """
        check_image(
            "PatchCnn", channels, shape=self.input.seen_hw(shape), in_channels=self.in_channels, minimum=_MINIMUM
        )


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Float [B, in_channels, H, W] -> [B, out_channels, ceil(H/2), ceil(W/2)]."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),  # the batch norm has the bias
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, 2, ceil_mode=True),
    )
