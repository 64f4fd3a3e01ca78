"""Single steps on windows, against the same steps on whole maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lungdet.explain import window_steps
from lungdet.explain.incremental import OriginalMaps
from lungdet.explain.window_steps import Joined, Local, Moved, Pointwise, Step, Whole, padded
from lungdet.explain.windows import Windowed, boxes_around, whole

ORIGINAL = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))


def versions(*corners: tuple[int, int], side: int = 4) -> Windowed:
    """Of the original, each with a square of other values."""
    starts = np.array(corners, np.int64)
    patch = torch.rand(len(corners), 3, side, side, generator=torch.Generator().manual_seed(1))
    return Windowed(patch, boxes_around(np.stack([starts, starts + side - 1]), (20, 24)))


def maps_of(step: Step, *originals: Tensor) -> OriginalMaps:
    """What a step may ask for."""
    answers = step.of_whole(originals, n_images=1)
    maps = OriginalMaps(
        {
            number: tuple(cells.shape)
            for number, cells in zip((*step.inputs, *step.outputs), (*originals, *answers), strict=True)
        }
    )
    for number, cells in zip((*step.inputs, *step.outputs), (*originals, *answers), strict=True):
        if isinstance(step, Local) and number in step.inputs:
            maps.keep_padded(number, cells, step.before, step.after, step.fill)
        maps.keep(number, cells)
    return maps


def check(step: Step, *values: Windowed, windowed: bool = True) -> None:
    """Windows give what whole maps give."""
    originals = [ORIGINAL] * len(values)
    maps = maps_of(step, *originals)
    (found,) = step.of_windows(list(values), maps)
    (expected,) = step.of_whole([whole(ORIGINAL, value) for value in values], n_images=len(values[0].patch))
    assert isinstance(found, Windowed) == windowed
    cells = whole(maps.map_of(step.outputs[0]), found) if isinstance(found, Windowed) else found
    torch.testing.assert_close(cells, expected, rtol=1e-6, atol=1e-6)


def test_maximum_of_a_border() -> None:
    step = Local(
        inputs=(0,),
        outputs=(1,),
        function=lambda cells, padding: F.max_pool2d(cells, 3, 2, padding),
        kernel=(3, 3),
        stride=(2, 2),
        dilation=(1, 1),
        before=(1, 1),
        after=(1, 1),
        fill=-np.inf,
    )
    check(step, versions((0, 0), (16, 20), (7, 0)))


def test_sums_of_windows_that_lie_elsewhere() -> None:
    step = Joined(inputs=(0, 1), outputs=(2,), function=lambda values: values[0] + values[1])
    check(step, versions((0, 0), (3, 10)), versions((2, 3), (3, 10), side=2))
    check(step, versions((0, 0), (3, 10)), versions((0, 0), (3, 10)))
    check(step, versions((0, 0), (3, 10)), versions((15, 18), (16, 20)), windowed=False)


def test_cells_that_move_are_found_again() -> None:
    mirrored = Moved(inputs=(0,), outputs=(1,), function=lambda cells: cells.flip(3))
    check(mirrored, versions((0, 0), (16, 20), (5, 6)))
    resized = Moved(inputs=(0,), outputs=(1,), function=lambda cells: F.interpolate(cells, (13, 17), mode="bilinear"))
    check(resized, versions((0, 0), (12, 20), (5, 6), side=2))
    check(resized, versions((0, 0), side=18), windowed=False)


def test_anything_else_sees_whole_maps() -> None:
    check(
        Whole(inputs=(0,), outputs=(1,), function=lambda values, _: (values[0].mean((2, 3)),)),
        versions((1, 2)),
        windowed=False,
    )
    check(Pointwise(inputs=(0,), outputs=(1,), function=torch.exp), versions((1, 2)))


def test_large_windows_become_whole_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Local(
        inputs=(0,),
        outputs=(1,),
        function=lambda cells, padding: F.avg_pool2d(cells, 3, 1, padding),
        kernel=(3, 3),
        stride=(1, 1),
        dilation=(1, 1),
        before=(1, 1),
        after=(1, 1),
    )
    value = versions((3, 3), side=10)  # 12 x 12 of 20 x 24 afterwards: .3
    for share, windowed in ((0.29, False), (0.31, True)):
        monkeypatch.setattr(window_steps, "LARGEST_SHARE", share)
        check(step, value, windowed=windowed)


def test_cells_added_in_front_and_behind() -> None:
    assert padded(ORIGINAL, (0, 0), (0, 0), 1.0) is ORIGINAL
    found = padded(ORIGINAL, (1, 2), (3, 4), 7.0)
    assert found.shape == (1, 3, 24, 30)
    assert torch.equal(found[:, :, 1:21, 2:26], ORIGINAL)
    assert float(found.sum()) == pytest.approx(float(ORIGINAL.sum()) + 7 * 3 * (24 * 30 - 20 * 24))
