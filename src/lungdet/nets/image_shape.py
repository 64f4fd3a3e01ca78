"""The one wording of "this image does not fit this network", shared by the 2-D networks' `check_input`."""

from __future__ import annotations

from collections.abc import Sequence

from lungdet.errors import ShapeError


def check_image(net: str, channels: int, *, shape: Sequence[int], in_channels: int, minimum: int) -> None:
    """Refuse an input that a 2-D network cannot take, before a minute of training is spent on it.

    Args:
        net: class name of the network, for the message.
        channels: channels of the input.
        shape: spatial shape of the input, (H, W) in pixels.
        in_channels: channels that the network was built for.
        minimum: smallest size along y and x, in pixels.

    Raises:
        ShapeError: other channels, not two axes, or an axis below its minimum; the message names the axis.
    """
    if channels != in_channels:
        raise ShapeError(
            f"{net} was built for {in_channels} input channel(s), the data has {channels}: type "
            f"model.net.in_channels={channels}"
        )
    if len(shape) != 2:
        raise ShapeError(f"{net} takes images with axes (y, x), the data has shape {tuple(shape)}")
    for axis, size in zip("yx", shape, strict=True):
        if size < minimum:
            raise ShapeError(
                f"{net} needs at least {minimum} pixels along {axis}, the image {tuple(shape)} has {size}: "
                f"store or resize the images to at least {minimum} x {minimum}"
            )
