"""The keys that each root configuration may hold, as typed dataclasses: one class a command.

Groups whose content depends on the choice (`data`, `model`, ...) are mappings here; their nodes are checked against the
constructors they name. A key that is not a field is a misspelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    n_gallery: int


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
class EvalConfig:
    """`lungdet eval`."""

    paths: Paths
    run: str
    evaluation: Evaluation


@dataclass(frozen=True)
class PredictConfig:
    """`lungdet predict`."""

    paths: Paths
    run: str
    checkpoint: str
    candidates: str | list[str] | None
    out: str | None
    data: Node | None
    trainer: Node
    evaluation: Evaluation


@dataclass(frozen=True)
class PreprocessConfig:
    """`lungdet preprocess`."""

    paths: Paths
    data: Node
    workers: int | None
    overwrite: bool


@dataclass(frozen=True)
class PhantomConfig:
    """`lungdet phantom`."""

    paths: Paths
    data: Node
    workers: int | None


@dataclass(frozen=True)
class ImportWeightsConfig:
    """`lungdet import-weights`."""

    paths: Paths
    input: Node
    model: Node
    source: str
    out: str | None


@dataclass(frozen=True)
class BenchConfig:
    """`lungdet bench`."""

    paths: Paths
    what: str
    quick: bool
    out: str | None


@dataclass(frozen=True)
class FrocConfig:
    """`lungdet froc`."""

    annotations: str
    excluded: str | None
    seriesuids: str
    submission: str
    submission_b: str | None
    out: str
    name: str | None
    name_b: str | None
    n_bootstraps: int
    seed: int
    max_marks: int | None
    allow_foreign_series: bool


ROOTS: Mapping[str, type] = {
    "train": TrainConfig,
    "eval": EvalConfig,
    "predict": PredictConfig,
    "preprocess": PreprocessConfig,
    "phantom": PhantomConfig,
    "import_weights": ImportWeightsConfig,
    "bench": BenchConfig,
    "froc": FrocConfig,
}
