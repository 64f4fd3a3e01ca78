"""The one wording of "this crop does not fit this network", shared by every volume network's `check_input`."""

from __future__ import annotations

from collections.abc import Sequence

from lungdet.errors import ShapeError


def check_volume(
    net: str, channels: int, *, shape: Sequence[int], in_channels: int, minimum_zyx: tuple[int, int, int]
) -> None:
    """Refuse an input that a volume network cannot take, before a minute of training is spent on it.

    Args:
        net: class name of the network, for the message.
        channels: channels of the input.
        shape: spatial shape of the input, (D, H, W) in voxels.
        in_channels: channels that the network was built for.
        minimum_zyx: smallest size along z, y and x.

    Raises:
        ShapeError: other channels, not three axes, or an axis below its minimum; the message names the axis.
    """
    if channels != in_channels:
        raise ShapeError(
            f"{net} was built for {in_channels} input channel(s), the data has {channels}: type "
            f"model.net.in_channels={channels}"
        )
    if len(shape) != len(minimum_zyx):
        raise ShapeError(f"{net} takes volumes with axes (z, y, x), the data has shape {tuple(shape)}")
    for axis, size, minimum in zip("zyx", shape, minimum_zyx, strict=True):
        if size < minimum:
            raise ShapeError(
                f"{net} needs at least {minimum} voxels along {axis}, the crop {tuple(shape)} has {size}: "
                f"set a crop_size of at least {list(minimum_zyx)}"
            )


def check_classes(net: str, n_classes: int) -> None:
    """Refuse a head that is neither one logit nor a softmax pair.

    Raises:
        ShapeError: `n_classes` is not 1 or 2.
    """
    if n_classes not in (1, 2):
        raise ShapeError(f"{net}: n_classes must be 1 (one logit) or 2 (a softmax pair), got {n_classes}")
