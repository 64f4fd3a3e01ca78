"""Which cases are explained: by id, or drawn from a confidence band, a class, the right or the wrong answers."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from lungdet.errors import ConfigError

_SHOWN_IDS = 3


@dataclass(frozen=True, kw_only=True)
class CaseChoice:
    """The keys of `cases`.

    Args:
        partition: `test` or `val`.
        n: how many are drawn; fewer where fewer fit.
        correct: true for right answers only, false for wrong ones, None for both.
        label: 0 or 1 for one class only, None for both.
        probability: band of the probability of the positive class, both ends included.
        threshold: from which probability on a case is called positive, for `correct`.
        ids: these and no others; a series UID or image id stands for all its rows, `<series_uid>:<candidate_id>` for
            one. None draws.
        seed: of the draw.

    Raises:
        ConfigError: with every value that is out of range.
    """

    partition: Literal["val", "test"] = "test"
    n: int = 12
    correct: bool | None = None
    label: Literal[0, 1] | None = None
    probability: tuple[float, float] = (0.0, 1.0)
    threshold: float = 0.5
    ids: Sequence[str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        problems = []
        if self.n < 1:
            problems.append(f"cases.n={self.n} must be at least 1")
        low, high = self.probability
        if not 0 <= low <= high <= 1:
            problems.append(f"cases.probability={[low, high]} must be a lower and an upper end within [0, 1]")
        if not 0 < self.threshold < 1:
            problems.append(f"cases.threshold={self.threshold} must lie between 0 and 1")
        if self.label not in (None, 0, 1):
            problems.append(f"cases.label={self.label} must be 0, 1 or null")
        if self.ids is not None and not self.ids:
            problems.append("cases.ids=[] names no case; give some, or null to draw cases.n of them")
        if problems:
            raise ConfigError(problems)


def choose_cases(table: pd.DataFrame, choice: CaseChoice) -> pd.DataFrame:
    """The rows to explain: positives before negatives, the most probable first.

    Args:
        table: series_uid, candidate_id, label, probability, partition; any others are kept.
        choice: which of them.

    Returns:
        Rows of the table with a new column `correct`, their index kept.

    Raises:
        ConfigError: nothing fits, or an id that is not there.
    """
    rows = table[table["partition"] == choice.partition]
    rows = rows.assign(correct=(rows["probability"] >= choice.threshold) == (rows["label"] == 1))
    chosen = _drawn(rows, choice) if choice.ids is None else _named(rows, choice.ids, choice.partition)
    return chosen.sort_values(["label", "probability"], ascending=False, kind="stable")


def draw_by_class(table: pd.DataFrame, *, n: int | None, seed: int) -> pd.DataFrame:
    """Up to `n` rows, as many of either class as there are; None takes all. In the order of the table.

    A class with less than half of them leaves its room to the other.
    """
    if n is None or n >= len(table):
        return table
    order = np.random.default_rng(seed).permutation(len(table))
    positive = table["label"].to_numpy()[order] == 1
    ones, zeros = order[positive], order[~positive]
    n_ones = min(len(ones), max(n // 2, n - len(zeros)))
    return table.iloc[np.sort(np.concatenate([ones[:n_ones], zeros[: n - n_ones]]))]


def _drawn(rows: pd.DataFrame, choice: CaseChoice) -> pd.DataFrame:
    low, high = choice.probability
    fits = rows["probability"].between(low, high)
    if choice.label is not None:
        fits &= rows["label"] == choice.label
    if choice.correct is not None:
        fits &= rows["correct"] == choice.correct
    found = np.flatnonzero(fits.to_numpy())
    if not found.size:
        counts = rows.groupby(["label", "correct"]).size().reset_index(name="n").to_dict("records")
        there = ", ".join(
            f"{row['n']} of label {row['label']} answered {'rightly' if row['correct'] else 'wrongly'}"
            for row in counts
        )
        raise ConfigError(
            [
                f"cases: none of the {len(rows)} rows of '{choice.partition}' has label={choice.label}, "
                f"correct={choice.correct} and probability in [{low:g}, {high:g}]; there are {there or 'none'}"
            ]
        )
    order = np.random.default_rng(choice.seed).permutation(len(found))
    return rows.iloc[found[order[: choice.n]]]


def _named(rows: pd.DataFrame, ids: Sequence[str], partition: str) -> pd.DataFrame:
    series = rows["series_uid"].astype(str)
    single = series + ":" + rows["candidate_id"].astype(str)
    wanted = {str(name) for name in ids}
    unknown = sorted(wanted - set(series) - set(single))
    if unknown:
        near = difflib.get_close_matches(unknown[0], [*series.unique(), *single], n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(series.unique()[:_SHOWN_IDS])}, ..."
        raise ConfigError(
            [f"cases.ids: '{unknown[0]}' is no series, image or <series>:<candidate_id> of '{partition}'; {hint}"]
        )
    return rows[series.isin(wanted) | single.isin(wanted)]
