"""The seed book's candidate classifier: four small convolution blocks and one linear layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lungdet.nets.head import Fp32Linear
from lungdet.nets.input_shape import check_classes, check_volume

# What four poolings leave of the book's (32, 48, 48) crop; other crops are averaged to this grid.
_POOLED_ZYX = (2, 3, 3)
_MINIMUM_ZYX = (16, 16, 16)


class LunaModel(nn.Module):
    """LunaModel of the book, for crops of any size from 16 voxels per axis.

    Batch norm on the input, four blocks (conv 3, ReLU, conv 3, ReLU, max-pool 2) that double the channels, linear head.
    Two things differ from the book, and neither changes a number on its (32, 48, 48) crop, so its weights load by name:

    - adaptive averaging to (2, 3, 3) before the head, the identity for (32, 48, 48), lets other crops in;
    - pooling rounds up, so a size that is no multiple of 16 loses no border voxels (rounding down would ignore up to
      15 of them on one side, and the candidate would no longer be in the middle).

    Weights start as in the book: Kaiming-normal (fan out, ReLU), biases normal around -1/sqrt(fan out) with that same
    deviation. Training on two cores, batch 32 of (32, 48, 48), float32: 2.2 to 2.4 times faster in `channels_last_3d`.

    Reference: Stevens, Antiga, Viehmann, "Deep Learning with PyTorch", Manning 2020, chapter 11.

    Args:
        in_channels: channels of the input.
        conv_channels: channels of the first block; the book has 8.
        n_classes: 2 for a softmax pair (class 1 is nodule), 1 for one logit.

    Raises:
        ShapeError: `n_classes` is neither 1 nor 2.
    """

    memory_format: torch.memory_format = torch.channels_last_3d

    def __init__(self, in_channels: int = 1, conv_channels: int = 8, n_classes: int = 2) -> None:
        super().__init__()
        check_classes("LunaModel", n_classes)
        self.in_channels = in_channels
        self.n_classes = n_classes
        self.tail_batchnorm = nn.BatchNorm3d(in_channels)
        self.block1 = LunaBlock(in_channels, conv_channels)
        self.block2 = LunaBlock(conv_channels, conv_channels * 2)
        self.block3 = LunaBlock(conv_channels * 2, conv_channels * 4)
        self.block4 = LunaBlock(conv_channels * 4, conv_channels * 8)
        self.pool = nn.AdaptiveAvgPool3d(_POOLED_ZYX)
        self.head_linear = Fp32Linear(conv_channels * 8 * math.prod(_POOLED_ZYX), n_classes)
        self.apply(initialise_as_the_book)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, D, H, W] -> logits float32 [B, n_classes]."""
        features = self.block4(self.block3(self.block2(self.block1(self.tail_batchnorm(x)))))
        logits: Tensor = self.head_linear(self.pool(features).flatten(1))
        return logits

    def check_input(self, channels: int, shape: Sequence[int]) -> None:
        """Accept any (D, H, W) with at least 16 voxels per axis: below that, four poolings leave no full cell.

        Raises:
            ShapeError: other channels, not three axes, or an axis below 16; the message names the axis.
        """
        check_volume("LunaModel", channels, shape=shape, in_channels=self.in_channels, minimum_zyx=_MINIMUM_ZYX)


class LunaBlock(nn.Module):
    """Two 3x3x3 convolutions with bias and ReLU, then max-pooling that halves every axis (rounding up)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv3d(out_channels, out_channels, kernel_size=3, padding=1)
        self.relu2 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(2, 2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, D, H, W] -> [B, out_channels, ceil(D/2), ceil(H/2), ceil(W/2)]."""
        pooled: Tensor = self.maxpool(self.relu2(self.conv2(self.relu1(self.conv1(x)))))
        return pooled


def initialise_as_the_book(module: nn.Module) -> None:
    """Set the weights of one convolution or linear layer as the book's `_init_weights` does; leave others alone.

    The book draws biases from `normal_(bias, -bound, bound)` with bound = 1/sqrt(fan out), that is around -bound, not
    from the interval: kept, because the point of this network is to be the book's.
    """
    if isinstance(module, nn.Linear | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            fan_out = module.weight.shape[0] * math.prod(module.weight.shape[2:])
            bound = 1.0 / math.sqrt(fan_out)
            nn.init.normal_(module.bias, mean=-bound, std=bound)
