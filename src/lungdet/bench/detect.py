"""A whole scan of 512 x 512 x 133: the seed book's program, its recipe here, and the default one, in fp32 and bf16."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lungdet.bench.baselines.book_detect import detect_plainly
from lungdet.bench.drawn.networks import contrast_segmenter, random_classifier
from lungdet.bench.drawn.scans import Collection, scans_for
from lungdet.bench.processes import in_new_process
from lungdet.bench.rows import Contender, Row, interleave, rows
from lungdet.errors import ConfigError, RunError
from lungdet.io.scan import read_scan
from lungdet.pipeline.book import BookNetworks, detect_book
from lungdet.pipeline.classify import CandidateClassifier
from lungdet.pipeline.detect import detect
from lungdet.pipeline.detections import Detections
from lungdet.pipeline.inference import Precision, resolve_precision
from lungdet.pipeline.recipe import Recipe
from lungdet.pipeline.segment import SliceSegmenter
from lungdet.pipeline.sources import SegmentationSource

log = logging.getLogger(__name__)

PLAIN = "book's program, plain"
BOOK = "pipeline=book"
FP32 = "default, fp32"
BF16 = "default, bf16"

QUICK = Collection(1, (48, 224, 224), (0.98, 0.98, 2.5))
FULL = Collection(1, (133, 512, 512), (0.78, 0.78, 2.5))

# Between the contrast of the chest wall's inner side and that of the drawn vessels. In the scan of 512 x 512 x 133 it
# makes 615 candidates for the book's program and 869 for the default recipe; the book's networks make 774 and 583 in a
# real scan of that size, so the default recipe has more to classify here than there.
THRESHOLD_HU = 450.0
# Another memory format rounds differently.
_LARGEST_DIFFERENCE = 2e-6
_LARGEST_DISTANCE_MM = 1e-9
_UNIT = "scans/min"


@dataclass(frozen=True)
class Outcome:
    """One search of one scan.

    Attributes:
        seconds: of all stages and what lies between them; reading the scan and loading the networks is left out.
        stages: stage -> seconds.
        center_xyz_mm: float64 [N, 3], where something was found.
        probability: float64 [N, 2], of a nodule and of a malignant one.
    """

    seconds: float
    stages: Mapping[str, float]
    center_xyz_mm: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64]


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Scans a minute, in all and by what segmentation and classification alone take.

    Every search is a process of its own, as a call of `lungdet detect` is: nothing is warm, and its memory is its own.

    Raises:
        RunError: `pipeline=book` finds something else than the book's program.
    """
    collection = QUICK if quick else FULL
    (path,) = scans_for(folder, collection).values()
    has_bf16 = resolve_precision("auto", torch.device("cpu")) == "bf16"
    names = [PLAIN, BOOK, FP32, *([BF16] if has_bf16 else [])]
    outcomes: dict[str, list[Outcome]] = {name: [] for name in names}
    peaks: dict[str, float] = dict.fromkeys(names, 0.0)

    def timed(name: str) -> Contender:
        def run(_: int) -> float:
            outcome, peak = in_new_process(search, name, path)
            outcomes[name].append(outcome)
            peaks[name] = max(peaks[name], peak)
            return 60 / outcome.seconds

        return run

    rates = interleave({name: timed(name) for name in names}, rounds=2, warm_up=False)
    require_same(outcomes[BOOK][0], outcomes[PLAIN][0])
    for name, runs in outcomes.items():
        stages = ", ".join(f"{s} {statistics.median(run.stages[s] for run in runs):.2f}" for s in runs[0].stages)
        log.info("%s: %d candidates; seconds: %s", name, len(runs[0].probability), stages)
    shape = " x ".join(map(str, collection.shape_zyx))
    lines = rows(rates, section=f"whole scan, {shape}", unit=_UNIT, baseline=PLAIN, peaks_mb=peaks)
    for title, counted in {"segmentation": ("segment",), "classification": ("classify", "malignancy")}.items():
        alone = {
            name: [60 / sum(run.stages.get(stage, 0.0) for stage in counted) for run in runs]
            for name, runs in outcomes.items()
        }
        lines += rows(alone, section=f"whole scan, {shape}, {title} alone", unit=_UNIT, baseline=PLAIN)
    return lines


def search(name: str, path: Path) -> Outcome:
    """Search a scan once.

    Args:
        name: of the contender.
        path: of the scan.

    Raises:
        ConfigError: there is no such contender.
    """
    scan = read_scan(path)
    segmenter = contrast_segmenter(THRESHOLD_HU)
    classifier, malignancy = random_classifier(seed=1), random_classifier(seed=2)
    started = time.perf_counter()
    if name == PLAIN:
        found, stages = detect_plainly(scan, segmenter, classifier, malignancy=malignancy)
        return Outcome(time.perf_counter() - started, stages, found[:, :3], found[:, 3:])
    if name == BOOK:
        networks = BookNetworks(segmenter=segmenter, classifier=classifier, malignancy=malignancy)
        return _outcome(detect_book(scan, networks), started)
    precisions: dict[str, Precision] = {FP32: "fp32", BF16: "bf16"}
    if name not in precisions:
        raise ConfigError([f"contender {name!r}: there are {', '.join([PLAIN, BOOK, *precisions])}"])
    chosen = precisions[name]
    recipe = Recipe(
        source=SegmentationSource(segmenter=SliceSegmenter(nets=(segmenter,), precision=chosen)),
        classifier=CandidateClassifier(nets=(classifier,), precision=chosen),
        malignancy=CandidateClassifier(nets=(malignancy,), precision=chosen),
    )
    return _outcome(detect(scan, recipe), started)


def require_same(found: Outcome, expected: Outcome) -> None:
    """Refuse other detections than expected, in number, order, place or probability.

    Raises:
        RunError: which of them differs and by how much.
    """
    n, wanted = len(found.probability), len(expected.probability)
    if n != wanted or not n:
        raise RunError(f"bench detect: {BOOK} finds {n} candidates, '{PLAIN}' {wanted}; both must find the same")
    distance = float(np.abs(found.center_xyz_mm - expected.center_xyz_mm).max())
    difference = float(np.abs(found.probability - expected.probability).max())
    if not (distance <= _LARGEST_DISTANCE_MM and difference <= _LARGEST_DIFFERENCE):
        raise RunError(
            f"bench detect: the {n} candidates of {BOOK} and of '{PLAIN}' lie up to {distance:.2g} mm apart and their "
            f"probabilities differ by up to {difference:.2g}"
        )


def _outcome(detections: Detections, started: float) -> Outcome:
    seconds = time.perf_counter() - started
    table = detections.table
    centers = table[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy(np.float64)
    probability = table[["probability", "malignancy_probability"]].to_numpy(np.float64)
    return Outcome(seconds, detections.seconds, centers, probability)
