from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from lungdet.errors import ConfigError
from lungdet.io.scan import Scan
from lungdet.pipeline.candidates import Candidates
from lungdet.pipeline.lungs import find_lungs
from lungdet.pipeline.segment import PatchSegmenter, SliceSegmenter
from lungdet.pipeline.sources import SegmentationSource
from lungdet.pipeline.timing import StageClock

BALLS = ((0.0, 0.0, -40.0, 16.0), (-20.0, 10.0, 40.0, 12.0), (10.0, -20.0, 38.0, 6.0))


def find(source: SegmentationSource, scan: Scan, clock: StageClock | None = None) -> Candidates:
    lungs = find_lungs(scan)
    assert lungs is not None
    return source.find(scan, lungs, clock=clock or StageClock())


def nearest(found: Candidates, ball: tuple[float, float, float, float]) -> tuple[int, float]:
    z, y, x, _ = ball
    distance = np.linalg.norm(found.center_xyz_mm - [x, y, z], axis=1)
    return int(distance.argmin()), float(distance.min())


@pytest.mark.parametrize("split", ["erode", "connect"])
def test_balls_in_the_lungs_are_found_where_they_are(
    chest_scan: Callable[..., Scan], bright_tissue: Callable[..., nn.Module], split: str
) -> None:
    scan = chest_scan(balls=BALLS)
    clock = StageClock()
    found = find(
        SegmentationSource(segmenter=SliceSegmenter(nets=(bright_tissue(),), precision="fp32"), split=split),
        scan,
        clock,
    )
    assert len(found) == 3  # the body around the lungs is bright too, but its centre is not in the lungs
    for ball in BALLS:
        row, distance = nearest(found, ball)
        assert distance < 1.0
        assert found.diameter_mm[row] == pytest.approx(ball[3], abs=2.5)
        assert found.mean_hu[row] == pytest.approx(30, abs=25)
        assert found.logit[row] > 4  # (30 + 400) / 100
    assert list(clock.seconds) == ["lungs", "segment", "group"]


def test_small_components_are_left_out(
    chest_scan: Callable[..., Scan], bright_tissue: Callable[..., nn.Module]
) -> None:
    segmenter = SliceSegmenter(nets=(bright_tissue(),), precision="fp32")
    assert len(find(SegmentationSource(segmenter=segmenter, minimum_diameter_mm=9.0), chest_scan(balls=BALLS))) == 2


def test_what_lies_beyond_the_margin_is_left_out(
    chest_scan: Callable[..., Scan], bright_tissue: Callable[..., nn.Module]
) -> None:
    """A calcification in the middle of the mediastinum, 10 mm from either lung."""
    scan = chest_scan()
    scan.hu[22:26, 46:50, 46:50] = 500
    segmenter = SliceSegmenter(nets=(bright_tissue(200.0),), precision="fp32")
    assert len(find(SegmentationSource(segmenter=segmenter), scan)) == 0
    (found,) = find(SegmentationSource(segmenter=segmenter, lung_margin_mm=20.0), scan).center_xyz_mm
    assert np.abs(found).max() < 1


def test_a_higher_threshold_makes_smaller_components(
    chest_scan: Callable[..., Scan], bright_tissue: Callable[..., nn.Module]
) -> None:
    scan = chest_scan(balls=BALLS[:1])
    scan.hu[scan.hu > 0] = 10  # logit 4.1, probability 0.984
    segmenter = SliceSegmenter(nets=(bright_tissue(),), precision="fp32")
    assert len(find(SegmentationSource(segmenter=segmenter, threshold=0.98), scan)) == 1
    assert len(find(SegmentationSource(segmenter=segmenter, threshold=0.99), scan)) == 0


def test_a_patch_network_on_its_own_box(
    chest_scan: Callable[..., Scan], bright_tissue: Callable[..., nn.Module]
) -> None:
    class Bright3d(nn.Module):
        def forward(self, x: Any) -> Any:
            return (x + 400) / 100

    scan = chest_scan(balls=BALLS)
    patches = PatchSegmenter(
        nets=(Bright3d(),), patch_zyx=(48, 96, 96), window_hu=(-1000, 1000), scale="hu", precision="fp32"
    )
    slices = SliceSegmenter(nets=(bright_tissue(),), precision="fp32")
    by_patch = find(SegmentationSource(segmenter=patches), scan)
    by_slice = find(SegmentationSource(segmenter=slices), scan)
    assert SegmentationSource(segmenter=patches).spacing_zyx_mm is None
    np.testing.assert_allclose(by_patch.center_xyz_mm, by_slice.center_xyz_mm, atol=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": 1.0}, "threshold=1.0 of the segmentation must lie between 0 and 1"),
        ({"split": "cut"}, "split='cut': allowed are 'erode', 'connect'"),
        ({"lung_margin_mm": -1.0}, "must not be negative"),
        ({"minimum_diameter_mm": -1.0}, "must not be negative"),
    ],
)
def test_impossible_settings_are_refused(
    bright_tissue: Callable[..., nn.Module], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SegmentationSource(segmenter=SliceSegmenter(nets=(bright_tissue(),)), **arguments)


def test_settings_are_ready_for_json(bright_tissue: Callable[..., nn.Module]) -> None:
    record = SegmentationSource(segmenter=SliceSegmenter(nets=(bright_tissue(),))).describe()
    assert json.loads(json.dumps(record)) == record
    assert record["segmenter"]["kind"] == "slices"
