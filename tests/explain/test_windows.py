"""Where a change goes: counted by hand, and found by changing one pixel at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lungdet.explain.windows import (
    Boxes,
    Windowed,
    bounds,
    boxes_after,
    boxes_around,
    boxes_of_both,
    changed_cells,
    cut,
    whole,
)


def changed(*spans: tuple[int, int]) -> np.ndarray:
    """First and last cell along one axis, of several versions."""
    return np.array(spans, np.int64).T[:, :, None]


def test_boxes_hold_what_changed_and_stay_inside() -> None:
    boxes = boxes_around(changed((0, 2), (7, 9), (4, 4)), (10,), size=(5,))
    assert boxes.starts[:, 0].tolist() == [0, 5, 4]
    assert boxes.size == (5,)
    assert boxes.share == 0.5
    assert boxes_around(changed((0, 2), (7, 9)), (10,)).size == (3,)
    assert boxes_around(changed((0, 2)), (10,), size=(16,)).size == (10,)


def test_a_change_goes_through_a_layer_as_counted_by_hand() -> None:
    # Kernel 3, stride 2, one cell added in front, of 10 cells: outputs 0 to 4 look at -1..1, 1..3, 3..5, 5..7, 7..9.
    after = boxes_after(
        boxes_around(changed((2, 3), (4, 4), (9, 9)), (10,), size=(2,)),
        (5,),
        kernel=np.array([3]),
        stride=np.array([2]),
        before=np.array([1]),
        dilation=np.array([1]),
    )
    assert after.changed[..., 0].T.tolist() == [[1, 2], [2, 2], [4, 4]]
    assert after.size == (2,)
    assert after.starts[:, 0].tolist() == [1, 2, 3]


@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    before=st.integers(0, 3),
    dilation=st.integers(1, 3),
    pixel=st.integers(0, 19),
    longer=st.integers(0, 4),
)
def test_no_changed_cell_is_missed(
    kernel: int, stride: int, before: int, dilation: int, pixel: int, longer: int
) -> None:
    line = torch.zeros(1, 1, 20)
    last = min(pixel + longer, 19)
    line[..., pixel : last + 1] = 1
    if 20 + 2 * before < (kernel - 1) * dilation + 1:
        return
    answer = F.conv1d(line, torch.ones(1, 1, kernel), stride=stride, padding=before, dilation=dilation)[0, 0]
    boxes = boxes_after(
        boxes_around(changed((pixel, last)), (20,)),
        (len(answer),),
        kernel=np.array([kernel]),
        stride=np.array([stride]),
        before=np.array([before]),
        dilation=np.array([dilation]),
    )
    first, end = int(boxes.starts[0, 0]), int(boxes.starts[0, 0]) + boxes.size[0]
    assert 0 <= first < end <= len(answer)
    assert first <= boxes.changed[0, 0, 0] <= boxes.changed[1, 0, 0] < end
    seen = answer.nonzero()[:, 0].tolist()
    assert all(boxes.changed[0, 0, 0] <= cell <= boxes.changed[1, 0, 0] for cell in seen)


def test_both_changes_fit_in_the_boxes_of_both() -> None:
    both = boxes_of_both(boxes_around(changed((1, 2)), (10,)), boxes_around(changed((4, 4)), (10,), size=(3,)))
    assert both.changed[..., 0].T.tolist() == [[1, 4]]
    assert (both.starts[0, 0], both.size) == (1, (4,))


@pytest.mark.parametrize("space", [(6, 7), (5, 6, 7)])
def test_cutting_and_putting_together(space: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    original = torch.rand(1, 2, *space, generator=torch.Generator().manual_seed(0))
    starts = np.stack([[0] * len(space), [size - 3 for size in space], [1] * len(space)])
    patch = torch.rand(3, 2, *(3,) * len(space), generator=torch.Generator().manual_seed(1))
    value = Windowed(patch, Boxes(starts, (3,) * len(space), np.stack([starts, starts + 2]), space))
    expected = original.repeat(3, *(1,) * (len(space) + 1))
    for version, inside, start in zip(expected, patch, starts.tolist(), strict=True):
        version[(slice(None), *(slice(at, at + 3) for at in start))] = inside
    assert torch.equal(whole(original, value), expected)
    amounts = [amount for _ in space for amount in (1, 2)]
    around = F.pad(expected, amounts)
    for _ in range(20):
        size = tuple(int(generator.integers(1, side + 4)) for side in space)
        at = np.stack([[generator.integers(0, side + 4 - s) for side, s in zip(space, size, strict=True)]] * 3)
        got = cut(F.pad(original, amounts), value, starts=at, size=size, before=np.ones(len(space), np.int64))
        inside_all = (slice(None), slice(None), *(slice(a, a + s) for a, s in zip(at[0], size, strict=True)))
        assert torch.equal(got, around[inside_all])


def test_where_versions_differ() -> None:
    original = torch.zeros(1, 2, 5, 6)
    versions = original.repeat(3, 1, 1, 1)
    versions[0, 0, 1, 2] = versions[0, 1, 3, 5] = 1
    versions[2, 1, 4, 0] = 1
    found = changed_cells(versions, original)
    assert found[:, 0].tolist() == [[1, 2], [3, 5]]
    assert found[:, 1].tolist() == [[0, 0], [0, 0]]  # no difference
    assert found[:, 2].tolist() == [[4, 0], [4, 0]]
    assert bounds(torch.ones(1, 4, 3, dtype=torch.bool)).tolist() == [[[0, 0]], [[3, 2]]]
