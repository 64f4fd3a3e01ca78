"""What samples around points have in common: spec, batches, windowing with and without augmentation."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch

from lungdet.data.augment import CropAugmentation
from lungdet.data.candidate_dataset import RawBatch
from lungdet.data.intensity import Window
from lungdet.data.sample_kind import PointSamples
from lungdet.io.luna16 import Luna16

SHAPE = (2, 3, 4)


class Points(PointSamples):
    classes = ("no", "yes")

    def points(self, collection: Luna16) -> pd.DataFrame:
        return pd.DataFrame()


def raw(hu: int = -300) -> RawBatch:
    return {
        "hu": torch.full((2, 1, *SHAPE), hu, dtype=torch.int16),
        "label": torch.tensor([1, 0]),
        "index": torch.tensor([7, 8]),
        "draw": torch.tensor([17, 18]),
    }


def test_the_spec_says_what_a_batch_will_be() -> None:
    spec = Points().spec(SHAPE, window=Window())
    assert (spec.layout, spec.channels, spec.shape, spec.target) == ("volume", 1, SHAPE, "class")
    assert spec.classes == ("no", "yes")
    assert spec.intensity == Window().description
    assert not spec.has_features
    batch = Points().finish(raw(), window=Window(), augment=None, shape_zyx=SHAPE)
    assert batch["image"].shape == (2, spec.channels, *spec.shape)


def test_evaluation_takes_the_batches_of_training() -> None:
    assert Points().evaluation_batch_size(24) == 24


def test_finishing_windows_and_leaves_labels_alone() -> None:
    batch = Points().finish(raw(-300), window=Window(range_hu=(-1000, 400)), augment=None, shape_zyx=SHAPE)
    assert batch["image"].dtype == torch.float32
    assert bool((batch["image"] == 0.5).all())
    assert set(batch) == {"image", "label", "index"}
    assert (batch["label"].tolist(), batch["index"].tolist()) == ([1, 0], [7, 8])


@pytest.mark.parametrize(("decided", "changed"), [(True, True), (False, False)])
def test_only_what_was_decided_before_is_augmented(decided: bool, changed: bool) -> None:
    """An evaluation batch carries no decisions, whatever augmentation the DataModule has."""
    shift = CropAugmentation(
        flip=False,
        rotation_deg=0.0,
        scale=(1, 1),
        offset_mm=0.0,
        contrast=(1, 1),
        intensity_shift_hu=100,
        noise_hu_sd=0,
    )
    batch: Any = raw()
    if decided:
        batch["augmentation"] = shift.draw(batch["draw"].numpy(), seed=0, epoch=0, spacing_zyx_mm=(1.0, 1.0, 1.0))
    done = Points().finish(batch, window=Window(), augment=shift, shape_zyx=SHAPE)
    assert bool((done["image"] != 0.5).any()) is changed
    assert (Points().finish(batch, window=Window(), augment=None, shape_zyx=SHAPE)["image"] == 0.5).all()


def test_a_kind_without_points_is_not_made() -> None:
    with pytest.raises(TypeError, match="points"):
        PointSamples()  # type: ignore[abstract]
