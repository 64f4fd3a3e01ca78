"""What a curriculum calls hard: the logit that the intensity-and-size baseline gives a training negative."""

from __future__ import annotations

import logging
import time

import numpy as np
import numpy.typing as npt

from lungdet.data.collection_data import CollectionData
from lungdet.data.curriculum import NeedsDifficulty
from lungdet.errors import ConfigError
from lungdet.training.baseline import baseline_logits, baseline_of

log = logging.getLogger(__name__)


def prepare_curriculum(datamodule: CollectionData) -> None:
    """Let the DataModule measure how hard its negatives are, where `data.sampling` asks for that; else nothing happens.

    Nothing is measured here: the records exist only after setup, which a Trainer calls in each of its processes. There
    the same regression is fitted to the same rows, so all processes rank them alike, and so does a resumed run.

    Args:
        datamodule: before or after setup.

    Raises:
        ConfigError: samples without a class, such as crops with masks.
    """
    if not isinstance(datamodule.sampling, NeedsDifficulty):
        return
    if datamodule.spec.target != "class":
        raise ConfigError(
            [
                f"data.sampling: {type(datamodule.sampling).__name__} ranks candidates or nodules, not samples "
                f"with targets '{datamodule.spec.target}'; type data/sampling=balanced"
            ]
        )
    datamodule.measure_difficulty = baseline_difficulty


def baseline_difficulty(datamodule: CollectionData) -> npt.NDArray[np.float32]:
    """The baseline's logit of each training row: the more a negative looks like a nodule to it, the harder.

    The regression is fitted to these rows, without the validation and test patients, and needs no run of a network. It
    reads a crop of each training row once.

    Args:
        datamodule: after setup.

    Returns:
        float32 [N] by row of `datamodule.records`; NaN outside the training partition.
    """
    started = time.perf_counter()
    logits = baseline_logits(datamodule, seed=datamodule.seed, partitions=("train",)).to_numpy(np.float32)
    log.info(
        "curriculum: %d training rows ranked by the baseline (%s) in %.0f s",
        int(np.isfinite(logits).sum()),
        baseline_of(datamodule),
        time.perf_counter() - started,
    )
    return logits
