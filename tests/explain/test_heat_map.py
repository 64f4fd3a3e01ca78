from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.heat_map import drop_density, pixel_drops, positive_share, scaled_heat_map
from lungdet.explain.masks import centre_square, sliding_boxes
from lungdet.explain.occlusion import Drops
from lungdet.explain.regions import MaskRegions, SegmentRegions


def drops(*values: float) -> Drops:
    return Drops(original=1.0, occluded=1.0 - np.array(values))


def test_a_pixel_has_the_mean_drop_of_its_parts() -> None:
    masks = torch.tensor([[[1, 1, 0, 0]], [[0, 1, 1, 0]]], dtype=torch.bool)
    heat = pixel_drops(MaskRegions(("a", "b"), masks), drops(0.4, -0.2))
    assert heat[0, :3].tolist() == pytest.approx([0.4, 0.1, -0.2])
    assert math.isnan(heat[0, 3])


def test_segments_are_painted_with_their_drop() -> None:
    labels = torch.arange(60).reshape(3, 4, 5) // 2  # 30 parts: more than are added up at once
    values = np.random.default_rng(0).normal(size=30)
    heat = pixel_drops(SegmentRegions(labels), drops(*values))
    np.testing.assert_allclose(heat.numpy(), values[labels.numpy()], atol=1e-6)


def test_the_density_sums_to_the_drops() -> None:
    regions = sliding_boxes((9, 11), size=4, stride=3)
    values = np.random.default_rng(1).normal(size=len(regions))
    assert float(drop_density(regions, drops(*values)).sum()) == pytest.approx(values.sum(), abs=1e-5)


def test_the_share_on_a_target_by_hand() -> None:
    """Segment 0 (2 pixels, drop .6) has one pixel on the target, segment 1 (4, .2) two, segment 2 (drop < 0) two."""
    regions = SegmentRegions(torch.tensor([[0, 0, 1, 1], [1, 1, 2, 2]]))
    target = torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1]], dtype=torch.bool)
    share = positive_share(drop_density(regions, drops(0.6, 0.2, -0.9)), target)
    assert share == pytest.approx((0.3 + 0.1) / 0.8)
    assert positive_share(torch.full((2, 4), 3.0), target) == pytest.approx(5 / 8)
    assert math.isnan(positive_share(-torch.ones(2, 4), target))
    with pytest.raises(ShapeError, match="bool target of its shape"):
        positive_share(torch.ones(2, 4), target[:1])


def test_an_outlier_does_not_set_the_scale() -> None:
    values = torch.arange(-100.0, 100.0).reshape(10, 20)  # 99 positive pixels, 1 to 99
    values[-1, -1] = 1e6
    scaled, bound = scaled_heat_map(values, quantile=0.98)
    assert bound == 98
    assert (float(scaled.min()), float(scaled.max()), float(scaled[-1, -2])) == (0, 1, 1)
    assert float(scaled.flatten()[-50]) == pytest.approx(50 / 98)


def test_a_signed_map_keeps_zero_in_the_middle() -> None:
    scaled, bound = scaled_heat_map(torch.tensor([[-4.0, 0.0, 1.0, math.nan]]), sign="signed", quantile=1)
    assert bound == 4
    assert scaled[0, :3].tolist() == [-1, 0, 0.25]
    assert math.isnan(scaled[0, 3])


def test_an_empty_map_stays_empty() -> None:
    heat = pixel_drops(centre_square((4, 4), size=2), drops(-0.3))
    scaled, bound = scaled_heat_map(heat)
    assert bound == 0
    assert scaled[1, 1] == 0
    assert int(scaled.isnan().sum()) == 12


def test_another_sign_is_refused() -> None:
    with pytest.raises(ConfigError, match="positive or signed"):
        scaled_heat_map(torch.ones(2, 2), sign="negative")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"quantile in \(0, 1\]"):
        scaled_heat_map(torch.ones(2, 2), quantile=0)
