"""The keys of the roots that compose a training: train itself, and the commands that train many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Node = Mapping[str, Any]


@dataclass(frozen=True)
class Paths:
    """Folders; every other path in conf/ is built from these."""

    root: str
    data: str
    runs: str
    stores: str


@dataclass(frozen=True)
class Evaluation:
    """How numbers are computed from a predictions table."""

    n_resamples: int
    seed: int
    recalls: list[float]
    n_gallery: int
    calibration: Literal["none", "temperature", "platt", "isotonic"]


@dataclass(frozen=True)
class TrainConfig:
    """`lungdet train`."""

    paths: Paths
    data: Node
    split: Node
    model: Node
    optim: Node
    scheduler: Node
    trainer: Node
    callbacks: Node
    logger: Node
    evaluation: Evaluation
    seed: int
    ckpt_path: str | None


@dataclass(frozen=True)
class SanityShuffled:
    """What `lungdet sanity what=shuffled_labels` does."""

    n_permutations: int


@dataclass(frozen=True)
class SanityPermuted:
    """What `lungdet sanity what=permuted_training` does."""

    n_trainings: int
    epochs: int


@dataclass(frozen=True)
class SanityOverfit:
    """What `lungdet sanity what=overfit_one_batch` does."""

    steps: int
    loss: float
    dice: float


@dataclass(frozen=True)
class SanityConfig(TrainConfig):
    """`lungdet sanity`: everything that a training has, and what is checked."""

    what: str | list[str]
    run: str | None
    out: str
    shuffled: SanityShuffled
    permuted: SanityPermuted
    overfit: SanityOverfit


@dataclass(frozen=True)
class CvConfig(TrainConfig):
    """`lungdet cv`: every key of train, and its own."""

    folds: list[int] | None
    out: str | None


@dataclass(frozen=True)
class SearchConfig(TrainConfig):
    """`lungdet search`: every key of train, and its own."""

    n_trials: int
    timeout_min: float | None
    jobs: int
    search_seed: int
    startup_trials: int
    prune_after: int | None
    out: str | None
