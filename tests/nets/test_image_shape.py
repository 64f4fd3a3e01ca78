"""One wording for all 2-D networks: channels first, then axes, then the axis that is too short."""

from __future__ import annotations

from typing import Any

import pytest

from lungdet.errors import ShapeError
from lungdet.nets.image_shape import check_image


def check(**changed: Any) -> None:
    given: dict[str, Any] = {"channels": 3, "shape": (32, 40), "in_channels": 3, "minimum": 32}
    given |= changed
    check_image("Net", given.pop("channels"), **given)


def test_an_image_of_just_the_minimum_fits() -> None:
    check()
    check(shape=(32, 32))
    check(channels=1, in_channels=1, shape=[1, 1], minimum=1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"channels": 1}, r"^Net was built for 3 input channel\(s\), the data has 1: type model\.net\.in_channels=1$"),
        ({"shape": (16, 32, 32)}, r"^Net takes images with axes \(y, x\), the data has shape \(16, 32, 32\)$"),
        ({"shape": (64,)}, r"axes \(y, x\), the data has shape \(64,\)$"),
        ({"shape": (31, 40)}, r"at least 32 pixels along y, the image \(31, 40\) has 31: .* at least 32 x 32$"),
        ({"shape": (40, 31)}, r"at least 32 pixels along x, the image \(40, 31\) has 31: "),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        check(**changed)


def test_channels_are_told_before_the_size() -> None:
    """With another number of channels the size of this network says nothing."""
    with pytest.raises(ShapeError, match="built for 3 input"):
        check(channels=1, shape=(2, 2))
