from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lungdet.errors import ConfigError
from lungdet.explain.fill_rules import DatasetMeanFill, FillData, HounsfieldFill, resolved
from lungdet.explain.fills import ImageMeanFill


def batches(n_images: int, seed: int) -> Iterator[Tensor]:
    yield torch.full((n_images, 1, 2, 2), float(seed))


def test_the_mean_is_asked_of_the_training_images() -> None:
    fill = resolved(DatasetMeanFill(n_images=3, seed=7), FillData(batches))
    assert set(fill(torch.zeros(1, 1, 2, 2)).flatten().tolist()) == {7.0}
    with pytest.raises(ConfigError, match=r"explain\.fill\.n_images=0"):
        DatasetMeanFill(n_images=0)


@pytest.mark.parametrize(("scale", "expected"), [("unit", 0.125), ("hu", -850.0)])
def test_lung_in_the_window_of_the_data(scale: str, expected: float) -> None:
    data = FillData(batches, range_hu=(-1000.0, 200.0), scale=scale)  # type: ignore[arg-type]
    assert set(resolved(HounsfieldFill(hu=-850), data)(torch.zeros(1, 1, 1, 2, 2)).flatten().tolist()) == {expected}


def test_hounsfield_units_need_ct() -> None:
    with pytest.raises(ConfigError, match=r"-1000 HU needs CT.*explain/fill=dataset_mean"):
        resolved(HounsfieldFill(hu=-1000), FillData(batches))


def test_a_fill_that_needs_nothing_is_itself() -> None:
    fill = ImageMeanFill()
    assert resolved(fill, FillData(batches)) is fill
