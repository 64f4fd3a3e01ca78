from __future__ import annotations

import pytest

from lungdet.errors import ShapeError
from lungdet.nets.input_shape import check_classes, check_volume


def test_a_crop_at_the_minimum_passes() -> None:
    check_volume("Net", 1, shape=(8, 16, 16), in_channels=1, minimum_zyx=(8, 16, 16))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((7, 16, 16), r"Net needs at least 8 voxels along z, the crop \(7, 16, 16\) has 7.*crop_size.*\[8, 16, 16\]"),
        ((8, 15, 16), r"at least 16 voxels along y, .* has 15"),
        ((8, 16, 1), r"at least 16 voxels along x, .* has 1"),
        ((224, 224), r"volumes with axes \(z, y, x\), the data has shape \(224, 224\)"),
    ],
)
def test_the_message_names_the_axis_and_the_way_out(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        check_volume("Net", 1, shape=shape, in_channels=1, minimum_zyx=(8, 16, 16))


def test_other_channels_say_which_setting_to_change() -> None:
    with pytest.raises(ShapeError, match=r"built for 1 input channel.*the data has 3: type model.net.in_channels=3"):
        check_volume("Net", 3, shape=(16, 16, 16), in_channels=1, minimum_zyx=(16, 16, 16))


@pytest.mark.parametrize("n_classes", [0, 3])
def test_only_one_logit_or_a_pair(n_classes: int) -> None:
    check_classes("Net", 1)
    check_classes("Net", 2)
    with pytest.raises(ShapeError, match=rf"n_classes must be 1 \(one logit\) or 2 .* got {n_classes}"):
        check_classes("Net", n_classes)
