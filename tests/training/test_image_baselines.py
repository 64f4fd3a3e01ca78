"""Baselines of image runs: grey levels by hand, and a frozen backbone whose features are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tests.data.test_images import SPEC, Pictures
from tests.store.image_files import write_pictures
from torch import Tensor, nn

from lungdet.data.sampling import NaturalSampling
from lungdet.data.splits import Holdout
from lungdet.evaluation.predictions import read_predictions
from lungdet.losses.classification import BinaryCrossEntropy
from lungdet.tasks.image_classification import ImageClassification
from lungdet.training.baseline import baseline_logits, baseline_of
from lungdet.training.image_baselines import (
    FROZEN_FEATURES,
    GREY_LEVELS,
    frozen_logits,
    grey_levels,
    read_frozen_baseline,
    write_frozen_baseline,
)
from lungdet.training.run_directory import RunDirectory


@pytest.fixture(scope="module")
def datamodule(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    folder = tmp_path_factory.mktemp("baselines")
    write_pictures(folder / "pictures", 80)
    made = Pictures(
        root=folder / "pictures", store_path=folder / "store.zarr", store=SPEC, sampling=NaturalSampling(),
        split=Holdout(val_fraction=0.25, test_fraction=0.25, seed=1),
    )  # fmt: skip
    made.prepare_data()
    made.setup()
    return made


class Middle(nn.Module):
    """A "pretrained backbone" whose features are the mean of the middle and that of a corner."""

    memory_format = torch.channels_last

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(2))
        self.n_classes = 1

    def load_pretrained(self, weights: str) -> None:
        assert weights == "known"
        with torch.no_grad():
            self.scale.fill_(1.0)

    def features(self, x: Tensor) -> Tensor:
        return self.scale * torch.stack([x[:, 0, 6:10, 6:10].mean((1, 2)), x[:, 0, :3, :3].mean((1, 2))], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x).sum(1, keepdim=True)


def test_grey_levels_are_what_numpy_says(datamodule: Pictures) -> None:
    rows = np.array([4, 71, 0])
    found = grey_levels(datamodule, rows)
    for row, levels in zip(rows, found, strict=True):
        image = datamodule.load_image(datamodule.records.iloc[row]) / 255
        expected = [image.mean(), image.std(ddof=1), *np.quantile(image, [0.05, 0.5, 0.95])]
        np.testing.assert_allclose(levels, expected, rtol=1e-5)
    assert grey_levels(datamodule, np.array([], dtype=np.intp)).shape == (0, 5)


def test_the_baseline_of_images_ranks_by_grey_levels(datamodule: Pictures) -> None:
    assert baseline_of(datamodule) == GREY_LEVELS
    logit = baseline_logits(datamodule, seed=0)
    records = datamodule.records
    assert logit[records["partition"] == "train"].isna().all()
    scored = records["partition"] != "train"
    # A square of 90 more grey values in the middle of each positive raises its mean.
    assert roc_auc_score(records.loc[scored, "label"], logit[scored]) > 0.9


def test_the_frozen_backbone_is_asked_as_training_found_it(datamodule: Pictures, tmp_path: Path) -> None:
    net = Middle()
    run = RunDirectory(tmp_path)
    write_frozen_baseline(datamodule, task_of(net, "random"), run=run, fold=-1)
    assert read_frozen_baseline(run) == {}
    write_frozen_baseline(datamodule, task_of(net, "known"), run=run, fold=-1)
    (table,) = read_frozen_baseline(run).values()
    assert list(read_frozen_baseline(run)) == [FROZEN_FEATURES]
    pd.testing.assert_frame_equal(table, read_predictions(run.frozen_features))
    assert torch.equal(net.scale, torch.zeros(2))  # the trained network is left as it is
    assert set(table["partition"]) == {"val", "test"}
    test = table[table["partition"] == "test"]
    assert roc_auc_score(test["label"], test["logit"]) == 1.0


def test_features_without_information_rank_at_random(datamodule: Pictures) -> None:
    logit = frozen_logits(Middle(), datamodule)  # all features 0
    assert np.ptp(logit) < 1e-6


def task_of(net: nn.Module, weights: str) -> ImageClassification:
    return ImageClassification(net=net, loss=BinaryCrossEntropy(), weights=weights)
