"""What stands beside an image network in its report: grey levels alone, and its pretrained backbone as it was."""

from __future__ import annotations

import copy
import logging
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from lungdet.data.images import ImageDataModule
from lungdet.evaluation.predictions import read_predictions, write_predictions
from lungdet.tasks.image_classification import RANDOM, ImageClassification
from lungdet.training.run_directory import RunDirectory

log = logging.getLogger(__name__)

GREY_LEVELS = "logistic regression on grey levels"
FROZEN_FEATURES = "logistic regression on the frozen backbone's features"

# Rows that are read at once.
_ROWS = 64
# Inverse strengths of the ridge that the validation part chooses from: with 1,280 features and few images the default
# of 1 is far too weak.
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def grey_levels(datamodule: ImageDataModule, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Mean and deviation of each channel and its 5th, 50th and 95th percentile: float32 [N, 5 C].

    What a network could know without seeing a shape; where this alone ranks well, brightness gives the class away.

    Args:
        datamodule: after setup.
        rows: of its records.
    """
    found = []
    for first in range(0, len(rows), _ROWS):
        image = datamodule.evaluation_batch(rows[first : first + _ROWS])["image"].flatten(2)
        levels = torch.quantile(image, torch.tensor([0.05, 0.5, 0.95]), dim=2)
        found.append(torch.cat([image.mean(2), image.std(2), *levels], dim=1).numpy())
    width = 5 * datamodule.channels
    return np.concatenate(found) if found else np.empty((0, width), np.float32)


def write_frozen_baseline(datamodule: ImageDataModule, task: nn.Module, *, run: RunDirectory, fold: int) -> None:
    """Score validation and test images by a regression on the features that training started from, and write them.

    Nothing is written for networks that started at random, whose features say little.

    Args:
        datamodule: after setup.
        task: whose network was trained; it is left as it is.
        run: where the table goes.
        fold: of the split.
    """
    if not isinstance(task, ImageClassification) or task.weights == RANDOM:
        return
    net: Any = copy.deepcopy(task.net).cpu()
    net.load_pretrained(task.weights)
    records = datamodule.records
    log.info("baseline (%s): %d images", FROZEN_FEATURES, len(records))
    logit = frozen_logits(net, datamodule)
    scored = records["partition"].isin(["val", "test"]).to_numpy()
    write_predictions(records[scored].assign(logit=logit[scored], fold=fold), run.frozen_features)


def frozen_logits(net: Any, datamodule: ImageDataModule) -> npt.NDArray[np.float32]:
    """Logits of a ridge regression on `net.features`, fitted on the training rows; validation AUROC chooses the ridge.

    Args:
        net: on the CPU; is put into evaluation mode.
        datamodule: after setup.

    Returns:
        float32 [N], one for every record.
    """
    features = _features(net.eval(), datamodule)
    records = datamodule.records
    label = records["label"].to_numpy()
    train, val = ((records["partition"] == name).to_numpy() for name in ("train", "val"))
    best: tuple[float, npt.NDArray[np.float32]] | None = None
    for strength in _STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        logit = model.fit(features[train], label[train]).decision_function(features).astype(np.float32)
        auroc = float(roc_auc_score(label[val], logit[val]))
        if best is None or auroc > best[0]:
            best = auroc, logit
    assert best is not None
    return best[1]


def read_frozen_baseline(run: RunDirectory) -> dict[str, pd.DataFrame]:
    """Name -> predictions table; empty for a run that started at random."""
    return {FROZEN_FEATURES: read_predictions(run.frozen_features)} if run.frozen_features.is_file() else {}


@torch.inference_mode()
def _features(net: Any, datamodule: ImageDataModule) -> npt.NDArray[np.float64]:
    """Features of every record, float64 [N, F]."""
    found = []
    for first in range(0, len(datamodule.records), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(datamodule.records)), dtype=np.int64)
        image = datamodule.evaluation_batch(rows)["image"].to(memory_format=net.memory_format)
        found.append(net.features(image).float().numpy())
    return np.concatenate(found).astype(np.float64)
