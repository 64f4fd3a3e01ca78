from __future__ import annotations

import pytest
import torch

from lungdet.errors import ShapeError
from lungdet.nets.image_views import ViewAverage
from lungdet.nets.luna import LunaModel
from lungdet.nets.network_average import NetworkAverage
from lungdet.nets.patch_cnn import PatchCnn


def test_the_mean_of_outputs() -> None:
    members = [PatchCnn(in_channels=1).eval(), PatchCnn(in_channels=1).eval(), PatchCnn(in_channels=1).eval()]
    image = torch.rand(2, 1, 24, 24)
    with torch.inference_mode():
        expected = (members[0](image) + members[1](image) + members[2](image)) / 3
        torch.testing.assert_close(NetworkAverage(members).eval()(image), expected)


def test_it_says_what_its_members_say() -> None:
    three_d = NetworkAverage([LunaModel(n_classes=2)])
    assert three_d.in_channels == 1
    assert three_d.n_classes == 2
    mixed = NetworkAverage([PatchCnn(), ViewAverage(PatchCnn(), views="flip")])
    assert mixed.in_channels == 3


def test_members_that_do_not_agree() -> None:
    with pytest.raises(ShapeError, match="members must agree in n_classes, got 1, 2"):
        NetworkAverage([PatchCnn(), ViewAverage(PatchCnn(n_classes=2))])
    with pytest.raises(ShapeError, match="members must agree in in_channels, got 3, 1"):
        NetworkAverage([PatchCnn(), PatchCnn(in_channels=1)])
    with pytest.raises(ShapeError, match="at least one member"):
        NetworkAverage([])
