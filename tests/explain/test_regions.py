from __future__ import annotations

import pytest
import torch

from lungdet.errors import ShapeError
from lungdet.explain.masks import quadrants, sliding_boxes
from lungdet.explain.regions import BoxRegions, MaskRegions, Regions, SegmentRegions

LABELS = torch.tensor([[0, 0, 1], [2, 2, 1]])


def test_segments_are_their_own_masks() -> None:
    regions = SegmentRegions(LABELS)
    assert (len(regions), regions.shape, regions.pixels().tolist()) == (3, (2, 3), [2, 2, 2])
    assert regions.masks(1, 3).int().tolist() == [[[0, 0, 1], [0, 0, 1]], [[0, 0, 0], [1, 1, 0]]]
    assert torch.equal(regions.masks(0, 3).sum(0), torch.ones(2, 3, dtype=torch.int64))
    assert regions.names[2] == "segment 2"


@pytest.mark.parametrize(
    "regions",
    [
        SegmentRegions(torch.arange(24).reshape(2, 3, 4) // 7),
        quadrants((5, 7)),
        quadrants((4, 3, 6)),
        sliding_boxes((7, 9), size=4, stride=3),
        sliding_boxes((7, 3, 9), size=4, stride=3),
    ],
    ids=["segments", "quadrants", "octants", "boxes", "cubes"],
)
def test_what_every_kind_of_regions_promises(regions: Regions) -> None:
    masks = regions.masks(0, len(regions))
    assert masks.dtype == torch.bool
    assert masks.shape == (len(regions), *regions.shape)
    assert regions.pixels().tolist() == masks.flatten(1).sum(1).tolist()
    assert regions.pixels().dtype == torch.int64
    assert len(set(regions.names)) == len(regions)
    assert torch.equal(regions.masks(1, 3), masks[1:3])


@pytest.mark.parametrize("labels", [LABELS + 1, LABELS * 2, LABELS - 1])
def test_segments_with_a_gap_are_refused(labels: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"numbered 0, 1, 2.*torch\.unique"):
        SegmentRegions(labels)


def test_masks_that_say_nothing_are_refused() -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, 0] = True
    with pytest.raises(ShapeError, match=r"the mask 'b' holds no pixel"):
        MaskRegions(("a", "b"), masks)
    with pytest.raises(ShapeError, match=r"masks must be bool .* with 1 name"):
        MaskRegions(("a",), masks)
    with pytest.raises(ShapeError, match=r"masks must be bool .*got torch\.float32"):
        MaskRegions(("a", "b"), masks.float())


def test_a_picture_has_two_axes_and_a_volume_three() -> None:
    with pytest.raises(ShapeError, match=r"axes \(y, x\) or \(z, y, x\).*got \(6,\)"):
        SegmentRegions(LABELS.flatten())


@pytest.mark.parametrize("corners", [(), ((0, 0), (2, 3)), ((-1, 0),)])
def test_boxes_lie_inside(corners: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ShapeError, match=r"must lie inside an image \(4, 4\)"):
        BoxRegions(shape=(4, 4), size=(2, 2), corners=corners)
