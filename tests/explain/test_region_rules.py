from __future__ import annotations

import pytest
import torch

from lungdet.errors import ConfigError
from lungdet.explain.region_rules import (
    CentreSquare,
    CentreSquareOfFraction,
    Quadrants,
    RegionRule,
    Ring,
    SeveralMasks,
    Slic,
    SlidingBoxes,
    SlidingBoxesOfFraction,
)
from lungdet.explain.segments import slic_segments

PICTURE = torch.rand(1, 20, 16, generator=torch.Generator().manual_seed(0))
VOLUME = torch.rand(1, 8, 12, 10, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("rule", "picture", "volume"),
    [
        (CentreSquare(size=4), 1, 1),
        (CentreSquareOfFraction(fraction=0.5), 1, 1),
        (Quadrants(), 4, 8),
        (Ring(inner=0.2, outer=0.9), 1, 1),
        (SlidingBoxes(size=8, stride=8), 6, 4),  # (0, 8, 12) x (0, 8); 0 x (0, 4) x (0, 2)
        (SlidingBoxesOfFraction(fraction=0.5, step=1.0), 6, 18),  # sides of 8 and 4: 2 x 3 x 3
    ],
)
def test_a_rule_cuts_pictures_and_volumes(rule: RegionRule, picture: int, volume: int) -> None:
    for image, n in ((PICTURE, picture), (VOLUME, volume)):
        regions = rule(image)
        assert regions.shape == tuple(image.shape[1:])
        assert len(regions) == n


def test_the_fraction_is_of_the_shortest_axis() -> None:
    assert set(SlidingBoxesOfFraction(fraction=0.25, step=0.5)(PICTURE).pixels().flatten().tolist()) == {16}
    assert CentreSquareOfFraction(fraction=0.5)(VOLUME).pixels().tolist() == [4**3]


def test_superpixels_are_those_of_the_library() -> None:
    found = Slic(n_segments=6, compactness=5.0, sigma=0.5)(PICTURE)
    expected = slic_segments(PICTURE, n_segments=6, compactness=5.0, sigma=0.5)
    assert torch.equal(found.masks(0, len(found)), expected.masks(0, len(expected)))


def test_several_masks_together() -> None:
    regions = SeveralMasks([CentreSquare(size=4), Quadrants()])(PICTURE)
    assert regions.names == ("centre 4", "top left", "top right", "bottom left", "bottom right")
    assert regions.pixels().tolist() == [16, 80, 80, 80, 80]
    with pytest.raises(ConfigError, match=r"explain\.regions\.rules: no rule"):
        SeveralMasks([])


@pytest.mark.parametrize(("fraction", "step"), [(0, 0.5), (1.5, 0.5), (0.5, 0), (0.5, 2)])
def test_fractions_out_of_range(fraction: float, step: float) -> None:
    with pytest.raises(ConfigError, match=r"explain\.regions: fraction="):
        SlidingBoxesOfFraction(fraction=fraction, step=step)
