"""The seed book's 2.5-D UNet: a few neighbouring slices in, the logits of the middle slice out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lungdet.errors import ShapeError


class SliceUNet(nn.Module):
    """Batch norm over the neighbouring slices (channels), then a small UNet whose output has the size of its input.

    Batch norm follows each ReLU, as in the book; pooling is averaging; the way up is a transposed convolution, the skip
    a centre crop and concatenation. Tensor names are those of the book's `seg_*.state`, so its weights load by name.
    There is no sigmoid: the output is a logit per voxel.

    References:
        Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, doi:10.1007/978-3-319-24574-4_28.
        Stevens, Antiga, Viehmann, "Deep Learning with PyTorch", Manning 2020, chapter 13.

    Args:
        in_channels: neighbouring slices, the wanted one in the middle; the book has 7.
        n_classes: channels of the output; 1 for nodule against the rest.
        depth: levels; `depth - 1` poolings by two.
        first_width: channels of the first level, doubled at each pooling; the book has 16.

    Raises:
        ShapeError: an even number of slices, or a number below 1.
    """

    memory_format: torch.memory_format = torch.channels_last

    def __init__(self, in_channels: int = 7, n_classes: int = 1, depth: int = 3, first_width: int = 16) -> None:
        super().__init__()
        if in_channels < 1 or in_channels % 2 == 0:
            raise ShapeError(f"SliceUNet: in_channels must be odd (one slice in the middle), got {in_channels}")
        for name, value in (("n_classes", n_classes), ("depth", depth), ("first_width", first_width)):
            if value < 1:
                raise ShapeError(f"SliceUNet: {name} must be at least 1, got {value}")
        self.in_channels = in_channels
        self.n_classes = n_classes
        self.divisor = 2 ** (depth - 1)
        self.input_batchnorm = nn.BatchNorm2d(in_channels)
        self.unet = UNet(in_channels, n_classes, depth=depth, first_width=first_width)
        self.apply(initialise_as_the_book)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, H, W], HU clipped to [-1000, 1000] -> logits of its precision [B, n_classes, H, W]."""
        logits: Tensor = self.unet(self.input_batchnorm(x))
        return logits

    def check_input(self, channels: int, shape: Sequence[int]) -> None:
        """Accept slices whose height and width survive every pooling without a remainder.

        Raises:
            ShapeError: other channels, not two axes, or an axis that is no multiple; the message names the axis.
        """
        if channels != self.in_channels:
            raise ShapeError(
                f"SliceUNet was built for {self.in_channels} slices, the data has {channels}: "
                f"type model.net.in_channels={channels}"
            )
        if len(shape) != 2:
            raise ShapeError(f"SliceUNet takes slices with axes (y, x), the data has shape {tuple(shape)}")
        for axis, size in zip("yx", shape, strict=True):
            if size < self.divisor or size % self.divisor:
                raise ShapeError(
                    f"SliceUNet needs a multiple of {self.divisor} pixels along {axis}, {tuple(shape)} has {size}"
                )


class UNet(nn.Module):
    """The encoder, the decoder and the last 1x1 convolution; arguments as in `SliceUNet`."""

    def __init__(self, in_channels: int, n_classes: int, *, depth: int, first_width: int) -> None:
        super().__init__()
        widths = [first_width * 2**level for level in range(depth)]
        self.down_path = nn.ModuleList(
            ConvBlock(before, after) for before, after in zip([in_channels, *widths], widths, strict=False)
        )
        self.up_path = nn.ModuleList(
            UpBlock(below, above) for below, above in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(first_width, n_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, H, W] -> [B, n_classes, H, W]; multiples of 2**(depth - 1) keep their size."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.down_path):
            x = block(F.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        for block, skip in zip(self.up_path, skips[-2::-1], strict=True):
            x = block(x, skip)
        logits: Tensor = self.last(x)
        return logits


class ConvBlock(nn.Module):
    """Twice: 3x3 convolution with zero padding and bias, ReLU, batch norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, H, W] -> [B, out_channels, H, W]."""
        features: Tensor = self.block(x)
        return features


class UpBlock(nn.Module):
    """Transposed convolution by two, concatenation with the centre of the skip, then a `ConvBlock`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
        self.conv_block = ConvBlock(2 * out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Float [B, in_channels, H, W] and skip [B, out_channels, >= 2H, >= 2W] -> [B, out_channels, 2H, 2W]."""
        up = self.up(x)
        (height, width), (rows, columns) = up.shape[2:], skip.shape[2:]
        top, left = (rows - height) // 2, (columns - width) // 2
        centre = skip[:, :, top : top + height, left : left + width]
        features: Tensor = self.conv_block(torch.cat([up, centre], dim=1))
        return features


def initialise_as_the_book(module: nn.Module) -> None:
    """Set the weights of one convolution as the book's segmenter does; leave other layers alone.

    Kaiming-normal (fan out, ReLU); biases normal around -bound with deviation bound, bound = 1 / sqrt(fan out).
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            # PyTorch counts fan out on the first axis of the weight, for transposed convolutions too.
            fan_out = module.weight.shape[0] * math.prod(module.weight.shape[2:])
            bound = 1.0 / math.sqrt(fan_out)
            nn.init.normal_(module.bias, mean=-bound, std=bound)
