"""What a reader of a comparison has to keep in mind, as far as the runs themselves show it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lungdet.comparison.pairs import LEVEL
from lungdet.comparison.runs import ComparedRun
from lungdet.comparison.same_rows import KEY, rows_of
from lungdet.comparison.settings import differing_settings
from lungdet.evaluation.remarks import FEW_PATIENTS, count, warnings_first
from lungdet.evaluation.results import Finding


def cautions(
    runs: Sequence[ComparedRun], partition: str, *, n_patients: int, n_resamples: int, rows: str
) -> tuple[Finding, ...]:
    """Warnings first.

    Args:
        runs: what is compared.
        partition: whose rows are compared.
        n_patients: among them.
        n_resamples: of the bootstrap.
        rows: what rows are called, several of them.
    """
    return warnings_first(_cautions(runs, partition, n_patients=n_patients, n_resamples=n_resamples, rows=rows))


def _cautions(
    runs: Sequence[ComparedRun], partition: str, *, n_patients: int, n_resamples: int, rows: str
) -> Iterator[Finding]:
    if partition != "test":
        yield Finding(
            "warning",
            "no_test",
            "There are no test rows: the runs are compared on validation, where their checkpoints and thresholds were "
            "chosen. The one that tried more choices looks better.",
        )
    if n_patients < FEW_PATIENTS:
        yield Finding(
            "note",
            "few_patients",
            f"{count(n_patients, 'patient')} only: a bootstrap over so few gives intervals that are too narrow, so a "
            "difference that just excludes 0 is weak evidence.",
        )
    yield from _about_training(runs, partition, rows)
    n_pairs = len(runs) * (len(runs) - 1) // 2
    if n_pairs > 1 and n_pairs * 2 / (n_resamples + 1) >= LEVEL:
        yield Finding(
            "warning",
            "few_resamples",
            f"With {n_resamples:,} resamples no p is below {2 / (n_resamples + 1):.2g}, and Holm's correction over "
            f"{n_pairs} pairs lifts that above {LEVEL}: nothing can come out different. Set "
            f"evaluation.n_resamples={1000 * (1 + n_pairs // 10)} or more.",
        )


def _about_training(runs: Sequence[ComparedRun], partition: str, rows: str) -> Iterator[Finding]:
    # None of a run without provenance, and of merged folds, which have one split each.
    hashes = {run.provenance.get("split_hash") for run in runs} - {None}
    if len(hashes) > 1:
        yield Finding(
            "warning",
            "other_split",
            f"The runs were split differently (hashes {', '.join(sorted(map(str, hashes)))}): they learned from other "
            "patients, and a patient who tests here may have trained one of them.",
        )
    if partition == "test":
        compared = [*KEY, "label"]
        first = rows_of(runs[0], "val")[compared]
        others = [run.name for run in runs[1:] if not rows_of(run, "val")[compared].equals(first)]
        if others:
            yield Finding(
                "note",
                "other_validation",
                f"{', '.join(others)} had other validation rows than {runs[0].name}: checkpoints and thresholds were "
                f"chosen on other {rows}. Only the test rows are compared.",
            )
    if all(run.settings for run in runs):
        differing = [setting.key for setting in differing_settings(runs)]
        if differing == ["seed"]:
            yield Finding(
                "note",
                "only_seed",
                "The configurations differ in the seed only. An interval here says how far other patients would move "
                "the difference, not how far another seed would; several seeds of each recipe say that.",
            )
