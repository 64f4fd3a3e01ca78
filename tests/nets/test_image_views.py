"""Views are the symmetries of the square, each once; the average of them does not depend on how an image lies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError
from lungdet.nets.image_views import VIEWS, ViewAverage, view


class Corner(nn.Module):
    """Answers with the pixel at the top left."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, 0].unsqueeze(1)


def test_the_eight_views_bring_each_of_four_corners_twice() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    seen = [float(Corner()(view(image, turns, mirrored=mirrored))) for turns, mirrored in VIEWS["dihedral"]]
    assert sorted(seen) == [0, 0, 3, 3, 12, 12, 15, 15]
    assert float(ViewAverage(Corner(), views="dihedral")(image)) == pytest.approx(7.5)
    assert float(ViewAverage(Corner(), views="flip")(image)) == pytest.approx(1.5)
    assert float(ViewAverage(Corner(), views="one")(image)) == 0


def test_a_turned_image_gets_the_same_answer_of_any_network() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    image = torch.rand(2, 3, 8, 8)
    asked = ViewAverage(net, views="dihedral")
    for turned in (image.rot90(1, (2, 3)), image.flip(2), image.transpose(2, 3)):
        torch.testing.assert_close(asked(turned), asked(image))
        assert not torch.allclose(net(turned), net(image), atol=1e-3)


def test_the_middle_is_cut_out_first() -> None:
    image = torch.zeros(1, 1, 8, 6)
    image[:, :, 2, 1] = 5  # the first pixel of rows 2 to 5 and columns 1 to 3
    assert float(ViewAverage(Corner(), views="one", center_crop=0.5)(image)) == 5
    assert float(ViewAverage(Corner(), views="one")(image)) == 0


def test_what_cannot_be_asked() -> None:
    with pytest.raises(ConfigError, match=r"model\.views='all' must be one of one, flip, dihedral"):
        ViewAverage(Corner(), views="all")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"model\.center_crop=0 must be above 0"):
        ViewAverage(Corner(), center_crop=0)
