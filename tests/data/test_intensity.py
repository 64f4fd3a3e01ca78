"""Windows: hand-computed values, dtypes, and refusals."""

from __future__ import annotations

import pytest
import torch

from lungdet.data.intensity import Window
from lungdet.errors import ConfigError

HU = torch.tensor([-3024, -1000, -300, 50, 400, 3071], dtype=torch.int16)


def test_unit_window_maps_the_ends_exactly() -> None:
    out = Window()(HU)
    assert out.dtype == torch.float32
    assert out.tolist() == pytest.approx([0, 0, 0.5, 0.75, 1, 1])
    assert out[0] == 0
    assert out[-1] == 1


def test_hu_window_only_clips() -> None:
    assert Window(range_hu=(-1000, 1000), scale="hu")(HU).tolist() == [-1000, -1000, -300, 50, 400, 1000]


@pytest.mark.parametrize("scale", ["unit", "hu"])
def test_input_is_left_alone(scale: str) -> None:
    given = HU.float()
    Window(scale=scale)(given)  # type: ignore[arg-type]
    assert torch.equal(given, HU.float())


def test_lists_from_yaml_are_taken_and_described() -> None:
    assert Window(range_hu=[-1000, 400]) == Window()  # type: ignore[arg-type]
    assert Window().description == "HU clipped to [-1000, 400], scaled to [0, 1]"
    assert Window(scale="hu").description == "HU clipped to [-1000, 400]"


@pytest.mark.parametrize("ends", [(400, -1000), (5, 5), (0, float("inf")), (float("nan"), 1), (1, 2, 3)])
def test_range_must_be_one(ends: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"data\.window\.range_hu=.*type \[-1000,400\]"):
        Window(range_hu=ends)


def test_scale_must_be_known() -> None:
    with pytest.raises(ConfigError, match="must be 'unit' or 'hu'"):
        Window(scale="z-score")  # type: ignore[arg-type]
