from __future__ import annotations

import numpy as np
import pytest
import torch

from lungdet.errors import ConfigError, ShapeError
from lungdet.explain.occlusion import Drops
from lungdet.explain.ranking import RankedBy, importance_of, region_table
from lungdet.explain.regions import SegmentRegions

# 2, 4, 1 and 3 of 10 pixels.
REGIONS = SegmentRegions(torch.tensor([[0, 0, 1, 1, 1], [1, 2, 3, 3, 3]]))
DROPS = Drops(original=0.9, occluded=np.array([0.7, 0.5, 0.75, 1.0]))


def test_the_table_by_hand() -> None:
    table = region_table(REGIONS, DROPS)
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert table["region"].tolist() == [3, 2, 0, 1]
    assert table["name"].tolist() == ["segment 3", "segment 2", "segment 0", "segment 1"]
    assert table["drop"].tolist() == pytest.approx([-0.1, 0.15, 0.2, 0.4])
    assert table["abs_drop"].tolist() == pytest.approx([0.1, 0.15, 0.2, 0.4])
    assert table["area_percent"].tolist() == pytest.approx([30, 10, 20, 40])
    assert table["drop_per_percent"].tolist() == pytest.approx([-0.1 / 30, 0.015, 0.01, 0.01])


@pytest.mark.parametrize(("by", "order"), [("abs_drop", [3, 2, 0, 1]), ("drop_per_percent", [3, 0, 1, 2])])
def test_importance_has_three_readings(by: RankedBy, order: list[int]) -> None:
    drops = Drops(original=0.5, occluded=np.array([0.3, 0.1, 0.375, 0.6]))
    importance = importance_of(REGIONS, drops, by=by)
    table = region_table(REGIONS, drops, importance=importance)
    assert table["region"].tolist() == order
    assert table["importance"].tolist() == sorted(importance)
    assert table["drop"].tolist() == drops.drop[order].tolist()


def test_ties_keep_the_order_of_the_parts() -> None:
    table = region_table(REGIONS, Drops(original=0.5, occluded=np.full(4, 0.5)))
    assert table["region"].tolist() == [0, 1, 2, 3]


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"by='size'.*drop, abs_drop, drop_per_percent"):
        importance_of(REGIONS, DROPS, by="size")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"4 part\(s\) need an importance each"):
        region_table(REGIONS, DROPS, importance=np.zeros(3))
    with pytest.raises(ShapeError, match=r"4 part\(s\) need a drop each"):
        region_table(REGIONS, Drops(original=0.5, occluded=np.zeros(3)))
