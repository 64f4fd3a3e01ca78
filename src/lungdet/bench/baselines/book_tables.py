"""The seed book's candidate table, written plainly from its description: one tuple for each candidate, nested loops.

Slow on purpose: the csv module, Python floats, lists that are sorted and shuffled. The baseline of `bench tables`.
"""

from __future__ import annotations

import csv
import random
import time
from pathlib import Path
from typing import NamedTuple

from lungdet.bench.processes import peak_mb
from lungdet.bench.worker_memory import can_measure, copied_by_worker

_VAL_STRIDE = 10


class TableCost(NamedTuple):
    """What it cost one process to be ready to sample.

    seconds: imports apart. imports_mb: most memory held before. worker_mb: what a forked worker copies by looking at
    every candidate; None where the system does not tell.
    """

    seconds: float
    imports_mb: float
    worker_mb: float | None


class CandidateInfo(NamedTuple):
    """One candidate: whether it is a nodule, the diameter of its annotation (0 without one), series, (x, y, z) mm."""

    is_nodule: bool
    diameter_mm: float
    series_uid: str
    center_xyz_mm: tuple[float, ...]


class Sampled(NamedTuple):
    """What the book's dataset holds: training candidates, shuffled, by class, and those of validation."""

    positives: list[CandidateInfo]
    negatives: list[CandidateInfo]
    validation: list[CandidateInfo]


def read_candidate_info(root: Path) -> list[CandidateInfo]:
    """All candidates of series on disk, the nodules first, the largest of them at the head.

    A candidate has the diameter of the first annotation of its series that is nearer than a quarter of that diameter on
    every axis.
    """
    present = {path.stem for path in root.glob("subset*/*.mhd")}
    diameters: dict[str, list[tuple[tuple[float, ...], float]]] = {}
    with (root / "annotations.csv").open() as file:
        for row in list(csv.reader(file))[1:]:
            center = tuple(float(x) for x in row[1:4])
            diameters.setdefault(row[0], []).append((center, float(row[4])))
    candidates = []
    with (root / "candidates_V2.csv").open() as file:
        for row in list(csv.reader(file))[1:]:
            series_uid = row[0]
            if series_uid not in present:
                continue
            center = tuple(float(x) for x in row[1:4])
            diameter = 0.0
            for annotated, annotated_diameter in diameters.get(series_uid, []):
                if all(abs(a - b) <= annotated_diameter / 4 for a, b in zip(center, annotated, strict=True)):
                    diameter = annotated_diameter
                    break
            candidates.append(CandidateInfo(bool(int(row[4])), diameter, series_uid, center))
    candidates.sort(reverse=True)
    return candidates


def sample_ready(candidates: list[CandidateInfo], *, seed: int = 0) -> Sampled:
    """Every tenth candidate validates (whoever the patient is), the others train, shuffled and listed by class."""
    validation = candidates[::_VAL_STRIDE]
    training = [candidate for number, candidate in enumerate(candidates) if number % _VAL_STRIDE]
    random.Random(seed).shuffle(training)
    return Sampled(
        [candidate for candidate in training if candidate.is_nodule],
        [candidate for candidate in training if not candidate.is_nodule],
        validation,
    )


def measure_book(root: Path) -> TableCost:
    """The cost of the book's lists, in this process."""
    imports_mb = peak_mb()
    started = time.perf_counter()
    sampled = sample_ready(read_candidate_info(root))
    seconds = time.perf_counter() - started
    everything = (*sampled.positives, *sampled.negatives, *sampled.validation)
    worker_mb = copied_by_worker(lambda: sum(len(c.series_uid) for c in everything)) if can_measure() else None
    return TableCost(seconds, imports_mb, worker_mb)
