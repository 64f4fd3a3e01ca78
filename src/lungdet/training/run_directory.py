"""One run = one directory. This module knows the names of the files in it, and nothing else does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lungdet.errors import RunError


class RunDirectory:
    """Paths of what a run leaves behind.

    config.yaml          the resolved configuration, paths absolute
    overrides.txt        what was typed
    environment.txt      every installed package with its version, as pip takes it
    changes.diff         what the code differed in from its commit; missing where it did not
    split.json           patients of each partition, with the hash
    manifest.csv         every image with its file, label, patient and partition (images)
    provenance.json      code, packages, hardware, seed, split hash, store fingerprint
    history.csv          one row an epoch: every logged metric, samples seen, wall time
    ensemble.json        the runs whose logits are averaged (ensembles, which have no checkpoints of their own)
    checkpoints/         best.ckpt (by the monitored metric), last.ckpt
    predictions.parquet  one row a candidate of the validation and test partitions
    baseline.parquet     the same rows, scored by the baseline (classifiers)
    baseline_image_branch.parquet, baseline_clinical.parquet
                         the same rows, scored by either half of a network with clinical features
    baseline_frozen_features.parquet
                         the same rows, scored by a regression on the pretrained backbone's features (images)
    readers.json         how well the readers agree with each other (segmentation)
    audit.json           who is in which partition, and scans with equal pixels
    calibration.json     how logits become probabilities, and what that was fitted on (classifiers)
    report.json, report.html, curves.parquet; false_positives.png, false_negatives.png (images)
    explanations/        what `lungdet explain` found
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.overrides = path / "overrides.txt"
        self.environment = path / "environment.txt"
        self.changes = path / "changes.diff"
        self.split = path / "split.json"
        self.manifest = path / "manifest.csv"
        self.provenance = path / "provenance.json"
        self.history = path / "history.csv"
        self.members = path / "ensemble.json"
        self.checkpoints = path / "checkpoints"
        self.predictions = path / "predictions.parquet"
        self.baseline = path / "baseline.parquet"
        self.image_branch = path / "baseline_image_branch.parquet"
        self.clinical_baseline = path / "baseline_clinical.parquet"
        self.frozen_features = path / "baseline_frozen_features.parquet"
        self.readers = path / "readers.json"
        self.audit = path / "audit.json"
        self.calibration = path / "calibration.json"
        self.report = path / "report.json"
        self.report_html = path / "report.html"

    @property
    def is_finished(self) -> bool:
        """Whether the run came to its end: the report is what it writes last."""
        return self.report_html.is_file() and self.predictions.is_file() and self.provenance.is_file()

    @property
    def best_score(self) -> float:
        """Best value of the monitored metric; NaN where none is known."""
        score = self.read_provenance().get("best_score")
        return math.nan if score is None else float(score)

    def checkpoint(self, which: str) -> Path:
        """`best`, `last` or a file name in checkpoints/, or a path.

        Raises:
            RunError: there is no such checkpoint; the message lists those that are there.
        """
        for path in (self.checkpoints / f"{which}.ckpt", self.checkpoints / which, Path(which)):
            if path.is_file():
                return path
        there = sorted(p.stem for p in self.checkpoints.glob("*.ckpt"))
        raise RunError(f"no checkpoint '{which}' in {self.path}; there: {', '.join(there) or 'none'}")

    def read_provenance(self) -> dict[str, Any]:
        """The content of provenance.json; empty for a run that was interrupted before it was written."""
        if not self.provenance.is_file():
            return {}
        record: dict[str, Any] = json.loads(self.provenance.read_text())
        return record

    def write_json(self, path: Path, record: Any) -> None:
        """Write a record; see `write_text`."""
        self.write_text(path, json.dumps(record, indent=2, sort_keys=True) + "\n")

    def write_text(self, path: Path, text: str) -> None:
        """Write atomically: a reader, or a run that is killed, never sees half a file."""
        partial = path.with_suffix(path.suffix + ".partial")
        partial.write_text(text)
        partial.replace(path)


def find_run(run: str, runs: Path, *, holding: str = "config.yaml") -> RunDirectory:
    """The run directory that a person means.

    Args:
        run: a path, a folder name below `runs`, or `latest`: the newest run that holds the file `holding`.
        runs: where runs are kept.
        holding: the file that the caller needs, e.g. `predictions.parquet`.

    Raises:
        RunError: no such run, or it does not hold the file.
    """
    if run == "latest":
        found = sorted(runs.glob(f"**/{holding}"), key=lambda p: (p.stat().st_mtime_ns, str(p)))
        if not found:
            raise RunError(f"no run with {holding} below {runs}; make one: python train.py")
        newest = found[-1]
        return RunDirectory(newest.parents[len(Path(holding).parts) - 1])
    for path in (Path(run).expanduser(), runs / run):
        if path.is_dir():
            if not (path / holding).exists():
                raise RunError(f"{path} holds no {holding}: not a run directory, or the run ended before writing it")
            return RunDirectory(path.resolve())
    near = sorted(p.relative_to(runs).parts[0] for p in runs.glob(f"*/{holding}"))[-5:]
    raise RunError(f"no run '{run}'; the newest below {runs}: {', '.join(near) or 'none'}; or run=latest")
