"""The keys of `lungdet explain`; what they mean stands with the classes that they become."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lungdet.config.training_schema import Node, Paths


@dataclass(frozen=True)
class ExplainCases:
    """Which cases `lungdet explain` shows."""

    partition: Literal["val", "test"]
    n: int
    correct: bool | None
    threshold: float
    label: Literal[0, 1] | None
    probability: tuple[float, float]
    ids: list[str] | None
    seed: int


@dataclass(frozen=True)
class ExplainCurves:
    """How it follows deletion and insertion."""

    n_steps: int | None
    n_random: int
    seed: int


@dataclass(frozen=True)
class ExplainFaithfulness:
    """How it compares deletion with random order."""

    n_cases: int | None
    n_resamples: int
    seed: int


@dataclass(frozen=True)
class ExplainRandomWeights:
    """How it compares with weights drawn at random."""

    n_cases: int
    randomisation: Literal["all", "cascading"]
    seed: int


@dataclass(frozen=True)
class ExplainHeatMap:
    """How it draws maps."""

    sign: Literal["positive", "signed"]
    quantile: float


@dataclass(frozen=True)
class ExplainConfig:
    """`lungdet explain`."""

    paths: Paths
    executor: Node
    explain: Node
    run: str
    checkpoint: str
    out: str | None
    overwrite: bool
    cases: ExplainCases
    curves: ExplainCurves
    faithfulness: ExplainFaithfulness
    random_weights: ExplainRandomWeights
    heat_map: ExplainHeatMap
    n_bars: int
    device: Literal["auto", "cpu", "cuda"]
    accelerate: bool
