"""Evaluation: FROC with 1,000 resamples and a classification report with 2,000, against resampling row by row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from lungdet.bench.baselines.plain_evaluation import PlainAreas, PlainFroc
from lungdet.bench.drawn.results import Submission, draw_predictions, draw_submission
from lungdet.bench.rows import Contender, Row, interleave, rows
from lungdet.evaluation.calibration import fit_calibration
from lungdet.evaluation.classification import evaluate_classification
from lungdet.io.luna16_tables import read_excluded, read_marks
from lungdet.metrics.froc import evaluate_froc
from lungdet.metrics.froc_bootstrap import Findings
from lungdet.metrics.froc_tables import marks_of_listed, spheres
from lungdet.metrics.matching import Marks, cap_marks, match_marks

PLAIN_FROC = "rows drawn and sorted again, matching given"
PLAIN_AREAS = "scikit-learn, AUROC and average precision only"
FROC = "lungdet froc, files read"
REPORT = "lungdet report, every number"
CALIBRATED = "lungdet report, Platt before and after"
_MAX_MARKS = 100


@dataclass(frozen=True)
class Sizes:
    """How much is evaluated, and how many resamples the slow ways are given."""

    n_marks: int
    n_bootstraps: int
    n_rows: int
    n_resamples: int
    n_plain_froc: int
    n_plain_areas: int
    rounds: int


QUICK = Sizes(550_000, 1000, 250_000, 2000, 10, 4, 2)
FULL = Sizes(550_000, 1000, 755_000, 2000, 20, 5, 5)


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Resamples a second, everything else that the evaluation does included in our time; imports are not."""
    sizes = QUICK if quick else FULL
    return [*_froc_rows(sizes, folder), *_report_rows(sizes)]


def _froc_rows(sizes: Sizes, folder: Path) -> list[Row]:
    submission = draw_submission(n_marks=sizes.n_marks)
    files = write_submission(submission, folder)
    plain = PlainFroc(findings_of(submission))
    n_series = len(submission.seriesuids)

    def ours() -> None:
        evaluate_froc(
            read_excluded(files["annotations"]),
            read_excluded(files["excluded"]),
            submission.seriesuids,
            read_marks(files["marks"]),
            n_bootstraps=sizes.n_bootstraps,
        )

    def theirs(number: int) -> None:
        rng = np.random.default_rng(number + 1)
        for _ in range(sizes.n_plain_froc):
            plain.sensitivity(rng.integers(0, n_series, n_series))

    contenders: dict[str, Contender] = {
        PLAIN_FROC: _rate(sizes.n_plain_froc, theirs),
        FROC: _rate(sizes.n_bootstraps, lambda _: ours()),
    }
    section = f"FROC, {sizes.n_marks:,} marks of {n_series:,} series, {sizes.n_bootstraps:,} resamples"
    return rows(interleave(contenders, rounds=sizes.rounds), section=section, unit="resamples/s", baseline=PLAIN_FROC)


def _report_rows(sizes: Sizes) -> list[Row]:
    table = draw_predictions(n_rows=sizes.n_rows)
    test = table[table["partition"] == "test"]
    patient, patients = pd.factorize(test["patient_id"])
    plain = PlainAreas(test["label"].to_numpy(), test["logit"].to_numpy(np.float64), patient)

    def theirs(number: int) -> None:
        rng = np.random.default_rng(number + 1)
        for _ in range(sizes.n_plain_areas):
            plain.areas(rng.integers(0, len(patients), len(patients)))

    def ours(*, calibrate: bool) -> None:
        evaluate_classification(
            table,
            title="bench",
            provenance={},
            calibration=fit_calibration(table, "platt") if calibrate else None,
            n_resamples=sizes.n_resamples,
        )

    contenders: dict[str, Contender] = {
        PLAIN_AREAS: _rate(sizes.n_plain_areas, theirs),
        REPORT: _rate(sizes.n_resamples, lambda _: ours(calibrate=False)),
        CALIBRATED: _rate(sizes.n_resamples, lambda _: ours(calibrate=True)),
    }
    section = f"classification report, {sizes.n_rows:,} rows, {sizes.n_resamples:,} patient resamples"
    rates = interleave(contenders, rounds=sizes.rounds, warm_up=False)
    return rows(rates, section=section, unit="resamples/s", baseline=PLAIN_AREAS)


def findings_of(submission: Submission) -> Findings:
    """What matching leaves, by the rules and with the cap of the challenge."""
    uids = submission.seriesuids
    included, _ = spheres(submission.annotations, uids, name="annotations")
    others, _ = spheres(submission.excluded, uids, name="excluded")
    listed = marks_of_listed(submission.marks, uids, name="marks")
    kept = cap_marks(listed.series, listed.probability, n_series=len(uids), max_marks=_MAX_MARKS)
    marks = Marks(listed.series[kept], listed.center_xyz_mm[kept], listed.probability[kept])
    matching = match_marks(included, others, marks)
    false = matching.is_false_positive
    return Findings(included.series, matching.score, marks.series[false], marks.probability[false], len(uids))


def write_submission(submission: Submission, folder: Path) -> dict[str, Path]:
    """The tables as the challenge's CSV files: name -> path."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {"series_uid": "seriesuid"} | {f"center_{axis}_mm": f"coord{axis.upper()}" for axis in "xyz"}
    tables = {"annotations": submission.annotations, "excluded": submission.excluded, "marks": submission.marks}
    files = {name: folder / f"froc_{name}.csv" for name in tables}
    for name, table in tables.items():
        pacsv.write_csv(pa.Table.from_pandas(table.rename(columns=names), preserve_index=False), files[name])
    return files


def _rate(count: int, work: Callable[[int], None]) -> Contender:
    def run(number: int) -> float:
        started = time.perf_counter()
        work(number)
        return count / (time.perf_counter() - started)

    return run
