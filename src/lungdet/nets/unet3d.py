"""Two of MONAI's 3-D UNets for patches, with plain arguments for YAML: one logit per voxel of the input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lungdet.errors import ShapeError
from lungdet.nets.input_shape import check_classes, check_volume


class PatchNet3d(nn.Module):
    """What both networks share: the input that they take and the layout in which they are fast.

    Attributes:
        divisor: every axis of the input must be a multiple of it, or voxels of the border would be lost on the way.
        memory_format: contiguous; measured on two cores, channels_last_3d makes these networks slower.
    """

    memory_format: torch.memory_format = torch.contiguous_format

    def __init__(self, backbone: nn.Module, *, in_channels: int, n_classes: int, divisor: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.n_classes = n_classes
        self.divisor = divisor
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, D, H, W] -> logits [B, n_classes, D, H, W], of bfloat16 under autocast."""
        logits: Tensor = self.backbone(x)
        return logits

    def check_input(self, channels: int, shape: Sequence[int]) -> None:
        """Accept multiples of `divisor`, of which one axis at least is twice the divisor.

        The second because instance norm has nothing to compare with where a patch has shrunk to a single voxel.

        Raises:
            ShapeError: other channels, not three axes, or an axis that is no multiple; the message names the axis.
        """
        name, d = type(self).__name__, self.divisor
        check_volume(name, channels, shape=shape, in_channels=self.in_channels, minimum_zyx=(d, d, d))
        for axis, size in zip("zyx", shape, strict=True):
            if size % d:
                near = sorted({max(size // d, 1) * d, (size // d + 1) * d})
                raise ShapeError(
                    f"{name} needs a multiple of {d} voxels along {axis}, the patch {tuple(shape)} has {size}: "
                    f"set {' or '.join(map(str, near))}"
                )
        if all(size == d for size in shape):
            raise ShapeError(
                f"{name} shrinks a patch of {tuple(shape)} to one voxel, which cannot be normalised: "
                f"set at least {2 * d} along one axis"
            )


class BasicUNet3d(PatchNet3d):
    """MONAI `BasicUNet`: five levels, two convolutions each, instance norm, LeakyReLU, max-pooling.

    Measured on two cores, 96^3, width 16, bfloat16: trains .55 patches per second.

    Reference: Falk et al., "U-Net: deep learning for cell counting, detection, and morphometry", Nature Methods 2019,
    doi:10.1038/s41592-018-0261-2.

    Args:
        in_channels: channels of the input.
        n_classes: 1 for one logit, 2 for a softmax pair.
        first_width: channels of the first two levels, doubled at each of the other three.
        dropout: probability of dropping a channel's value.

    Raises:
        ShapeError: `n_classes` is neither 1 nor 2, or no channels.
    """

    def __init__(self, in_channels: int = 1, n_classes: int = 1, first_width: int = 16, dropout: float = 0.0) -> None:
        from monai.networks.nets.basic_unet import BasicUNet

        _check_sizes("BasicUNet3d", n_classes, in_channels=in_channels, first_width=first_width)
        widths = [first_width * factor for factor in (1, 1, 2, 4, 8, 1)]  # the last: after the last upsampling
        net = BasicUNet(3, in_channels, n_classes, features=widths, dropout=dropout)
        super().__init__(net, in_channels=in_channels, n_classes=n_classes, divisor=2**4)


class DynUNet3d(PatchNet3d):
    """MONAI `DynUNet`, the network of nnU-Net: strided convolutions, instance norm, LeakyReLU, transposed upsampling.

    Measured on two cores, 96^3, width 16, bfloat16: trains .67 to .71 patches per second, 1.25 times `BasicUNet3d`.

    Reference: Isensee et al., "nnU-Net", Nature Methods 2021, doi:10.1038/s41592-020-01008-z.

    Args:
        in_channels: channels of the input.
        n_classes: 1 for one logit, 2 for a softmax pair.
        first_width: channels of the first level, doubled at each below, up to nnU-Net's 320.
        depth: levels, at least 3; `depth - 1` halvings.
        residual: residual blocks instead of plain ones.

    Raises:
        ShapeError: `n_classes` is neither 1 nor 2, no channels, or too few levels.
    """

    def __init__(
        self,
        in_channels: int = 1,
        n_classes: int = 1,
        first_width: int = 16,
        depth: int = 5,
        residual: bool = False,
    ) -> None:
        from monai.networks.nets.dynunet import DynUNet

        _check_sizes("DynUNet3d", n_classes, in_channels=in_channels, first_width=first_width)
        if depth < 3:
            raise ShapeError(f"DynUNet3d: depth must be at least 3, got {depth}")
        strides = [1] + [2] * (depth - 1)
        net = DynUNet(
            3,
            in_channels,
            n_classes,
            kernel_size=[3] * depth,
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=[min(first_width * 2**level, 320) for level in range(depth)],
            res_block=residual,
        )
        super().__init__(net, in_channels=in_channels, n_classes=n_classes, divisor=2 ** (depth - 1))


def _check_sizes(net: str, n_classes: int, **sizes: int) -> None:
    check_classes(net, n_classes)
    for name, value in sizes.items():
        if value < 1:
            raise ShapeError(f"{net}: {name} must be at least 1, got {value}")
