"""Image files -> a table of probabilities: `lungdet predict images=...`."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError, LungdetError, ScanError
from lungdet.io.image_pixels import ImagePixels
from lungdet.io.unlabelled_images import UnlabelledImages, find_images

if TYPE_CHECKING:
    import pandas as pd
    from omegaconf import DictConfig

    from lungdet.exports.image_classifier import ImageClassifier

log = logging.getLogger(__name__)

SUBMISSION = "submission.csv"
_SHOWN = 20
_NAMED_FAILURES = 20
# Images that one thread reads in one go: rows of an HDF5 file lie together.
_GROUP = 64

Pixels = npt.NDArray[np.uint8]


def score_images(cfg: DictConfig) -> None:
    """Score the images, write the tables, then list those that could not be read.

    Raises:
        ConfigError: candidates or a collection beside the images, or a batch without images.
        MissingFileError, TableError, ScanError: no images (`lungdet.io.unlabelled_images.find_images`).
        ScanError: some could not be read; the others are scored.
        LungdetError: no network for pictures.
    """
    import torch

    from lungdet.cli.progress import scan_progress

    problems = []
    if cfg.candidates is not None or cfg.get("data") is not None:
        problems.append("images: candidates= and data= are for CT; give images= alone")
    if cfg.batch_size < 1:
        problems.append(f"batch_size={cfg.batch_size} must be at least 1")
    if problems:
        raise ConfigError(problems)
    uses_gpu = cfg.trainer.get("accelerator") != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if uses_gpu else "cpu")
    classifier = open_classifier(cfg.run, checkpoint=cfg.checkpoint, runs=Path(cfg.paths.runs), device=device)
    if classifier.card.calibration is None:
        log.warning("%s is not calibrated: probability is the sigmoid of the logit", classifier.card.name)
    images = find_images(cfg.images)
    with scan_progress("predict", total=len(images), items="images") as advance:
        table, failures = score(classifier, images, batch_size=cfg.batch_size, progress=advance)
    write_scores(table, cfg.out, positive=classifier.card.output.class_names[1])
    if failures:
        listed = "\n".join(f"  {name}: {why}" for name, why in list(failures.items())[:_NAMED_FAILURES])
        more = f"\n  and {len(failures) - _NAMED_FAILURES} more" if len(failures) > _NAMED_FAILURES else ""
        raise ScanError(f"{len(failures)} of {len(images)} images failed; the others are scored.\n{listed}{more}")


def open_classifier(reference: str, *, checkpoint: str, runs: Path, device: Any = "cpu") -> ImageClassifier:
    """The classifier of a run, an ensemble or an exported file.

    Args:
        reference: a run directory, its name below `runs`, `latest`, or a file that `lungdet export` wrote.
        checkpoint: of a run directory.
        runs: where runs are kept.
        device: where it computes.

    Raises:
        LungdetError: no such run or file, or no network for pictures.
    """
    from lungdet.cli.export import network_of_run
    from lungdet.exports.image_classifier import ImageClassifier, load_image_classifier
    from lungdet.exports.load import is_exported
    from lungdet.training.run_directory import find_run

    path = Path(reference).expanduser()
    if is_exported(path):
        return load_image_classifier(path, device=device)
    run = find_run(reference, runs)
    net, card = network_of_run(run, checkpoint, name=run.path.name)
    return ImageClassifier(net, card, device=device)


def score(
    classifier: ImageClassifier,
    images: UnlabelledImages,
    *,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Read, prepare and score images; those that cannot be read are left out.

    Args:
        classifier: the network.
        images: where they are.
        batch_size: images at a time.
        progress: called as `progress(images done, images in all)` after each batch.

    Returns:
        One row an image: id, path, logit, raw_probability (its sigmoid) and probability (calibrated where the run was);
        and id -> why of the others.
    """
    import pandas as pd
    import scipy.special

    names: list[str] = []
    logits: list[npt.NDArray[np.float64]] = []
    failures: dict[str, str] = {}
    batch: list[Pixels] = []
    for done, (name, outcome) in enumerate(_prepared(classifier, images), start=1):
        if isinstance(outcome, LungdetError):
            failures[name] = str(outcome)
        else:
            names.append(name)
            batch.append(outcome)
        if batch and (len(batch) == batch_size or done == len(images)):
            logits.append(classifier.logits(np.stack(batch)))
            batch.clear()
            if progress is not None:
                progress(done, len(images))
    if progress is not None:
        progress(len(images), len(images))
    logit = np.concatenate(logits) if logits else np.empty(0)
    paths = dict(zip(images.image_ids, images.places, strict=True))
    table = pd.DataFrame(
        {
            "id": pd.Series(names, dtype="str"),
            "path": pd.Series([str(paths[name][0]) for name in names], dtype="str"),
            "logit": logit,
            "raw_probability": scipy.special.expit(logit),
            "probability": classifier.probabilities(logit),
        }
    )
    return table, failures


def write_scores(table: pd.DataFrame, out: str | None, *, positive: str) -> None:
    """Write Kaggle's submission (id, label) and, beside it, the table with logits; or log the highest twenty.

    Args:
        table: of `score`.
        out: a .csv, or a folder, which gets submission.csv and scores.csv; None to log.
        positive: the class whose probability `label` is.
    """
    if out is None:
        shown = table.sort_values("probability", ascending=False, kind="stable").head(_SHOWN).drop(columns="path")
        log.info("%d images scored; the most likely '%s':\n%s", len(table), positive, shown.to_string(index=False))
        return
    path = Path(out)
    is_file = path.suffix.lower() == ".csv"
    submission = path if is_file else path / SUBMISSION
    scores = path.with_name(f"{path.stem}_scores.csv") if is_file else path / "scores.csv"
    submission.parent.mkdir(parents=True, exist_ok=True)
    label = table[["id"]].assign(label=table["probability"])
    label.to_csv(submission, index=False, lineterminator="\n")
    table.to_csv(scores, index=False, lineterminator="\n")
    log.info("%d images scored: %s (label: probability of '%s'), %s", len(table), submission, positive, scores)


def _prepared(classifier: ImageClassifier, images: UnlabelledImages) -> Iterator[tuple[str, Pixels | LungdetError]]:
    """Images in their order, decoded and prepared by several threads, some groups ahead of who asks."""

    def prepare(chosen: slice) -> list[tuple[str, Pixels | LungdetError]]:
        part = UnlabelledImages(images.source, images.image_ids[chosen], images.places[chosen])
        with part.pixels(channels=classifier.channels) as pixels:
            return [(name, _one(name, pixels)) for name in part.image_ids]

    def _one(name: str, pixels: ImagePixels) -> Pixels | LungdetError:
        try:
            return classifier.prepare(pixels.read(name))
        except LungdetError as error:
            return error

    groups = (slice(first, first + _GROUP) for first in range(0, len(images), _GROUP))
    n_threads = os.cpu_count() or 1
    with ThreadPoolExecutor(n_threads) as threads:
        waiting = deque(threads.submit(prepare, group) for group in islice(groups, n_threads + 1))
        while waiting:
            prepared = waiting.popleft().result()
            waiting.extend(threads.submit(prepare, group) for group in islice(groups, 1))
            yield from prepared
