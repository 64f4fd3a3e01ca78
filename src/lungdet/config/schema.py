"""The keys that each root configuration may hold, as typed dataclasses: one class a command.

Groups whose content depends on the choice (`data`, `model`, ...) are mappings here; their nodes are checked against the
constructors they name. A key that is not a field is a misspelling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lungdet.config.explain_schema import ExplainConfig
from lungdet.config.training_schema import CvConfig, Evaluation, Node, Paths, SanityConfig, SearchConfig, TrainConfig


@dataclass(frozen=True)
class RerunConfig:
    """`lungdet rerun`."""

    paths: Paths
    run: str
    out: str | None
    evaluation: Evaluation


@dataclass(frozen=True)
class EvalConfig:
    """`lungdet eval`."""

    paths: Paths
    run: str
    evaluation: Evaluation


@dataclass(frozen=True)
class CompareConfig:
    """`lungdet compare`."""

    paths: Paths
    runs: list[str]
    names: list[str] | None
    out: str | None
    evaluation: Evaluation


@dataclass(frozen=True)
class EnsembleConfig:
    """`lungdet ensemble`."""

    paths: Paths
    runs: list[str]
    out: str | None
    rows: Literal["shared", "none"]
    evaluation: Evaluation


@dataclass(frozen=True)
class PredictConfig:
    """`lungdet predict`."""

    paths: Paths
    run: str
    checkpoint: str
    candidates: str | list[str] | None
    images: str | None
    batch_size: int
    out: str | None
    data: Node | None
    trainer: Node
    evaluation: Evaluation


@dataclass(frozen=True)
class PreprocessConfig:
    """`lungdet preprocess`."""

    paths: Paths
    data: Node
    executor: Node
    workers: int | None
    overwrite: bool


@dataclass(frozen=True)
class ExploreConfig:
    """`lungdet explore`."""

    paths: Paths
    data: Node
    out: str | None
    seed: int
    n_samples: int
    n_scans: int | None
    n_preprocessing: int
    check_ids: bool


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
class ExportConfig:
    """`lungdet export`."""

    paths: Paths
    run: str
    checkpoint: str
    out: str
    name: str | None
    formats: str | list[str]


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


@dataclass(frozen=True)
class MinePool:
    """What `lungdet mine` scores."""

    background_per_scan: int
    minimum_distance_mm: float
    avoid_excluded: bool
    candidates: bool


@dataclass(frozen=True)
class MineKeep:
    """What it keeps of each scan."""

    per_scan: int
    minimum_probability: float
    suppression_mm: float


@dataclass(frozen=True)
class MineConfig:
    """`lungdet mine`."""

    paths: Paths
    executor: Node
    run: str
    checkpoint: str
    out: str | None
    seed: int
    pool: MinePool
    keep: MineKeep
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "bf16", "auto"]
    batch_size: int


@dataclass(frozen=True)
class Pipeline:
    """The steps of `lungdet detect`."""

    name: Literal["default", "book"]
    segmentation: Node | None
    blobs: Node | None
    recipe: Node | None
    inference: Node | None


@dataclass(frozen=True)
class Networks:
    """Trained networks that `lungdet detect` uses; a list is an ensemble."""

    segmentation: str | list[str] | None
    classifier: str | list[str] | None
    malignancy: str | list[str] | None
    checkpoint: str
    calibrated: bool


@dataclass(frozen=True)
class DetectConfig:
    """`lungdet detect`."""

    paths: Paths
    executor: Node
    pipeline: Pipeline
    input: str
    out: str
    outputs: str | list[str]
    networks: Networks
    with_book: bool
    only: str | None
    annotations: str | None
    excluded: str | None
    n_bootstraps: int
    seed: int
    n_shown: int
    dicom_probability: float
    device: Literal["auto", "cpu", "cuda"]
    overwrite: bool


ROOTS: Mapping[str, type] = {
    "train": TrainConfig,
    "sanity": SanityConfig,
    "cv": CvConfig,
    "search": SearchConfig,
    "rerun": RerunConfig,
    "eval": EvalConfig,
    "compare": CompareConfig,
    "ensemble": EnsembleConfig,
    "predict": PredictConfig,
    "preprocess": PreprocessConfig,
    "explore": ExploreConfig,
    "phantom": PhantomConfig,
    "import_weights": ImportWeightsConfig,
    "export": ExportConfig,
    "bench": BenchConfig,
    "froc": FrocConfig,
    "mine": MineConfig,
    "explain": ExplainConfig,
    "detect": DetectConfig,
}
