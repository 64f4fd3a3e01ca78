"""`Split`: which patients are where, disjoint by construction; and the table of patients that split rules take."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.errors import SplitError

PARTITIONS = ("train", "val", "test")

_SHOWN = 5


@dataclass(frozen=True)
class Split:
    """Patients of the three partitions, disjoint by construction.

    Attributes:
        train, val, test: patient ids, kept sorted.
        rule: what made it, for people: "GroupedKFold(n_folds=5, fold=0, ...)".
        fold: number of the fold that is tested, None for rules without folds.
        seed: of the rule, None for rules without randomness.
        notes: what the rule had to repair, one sentence each; shown in reports.

    Raises:
        SplitError: a patient in two partitions or twice in one; the message names the first few and gives the count.

    Example:
        >>> Split(train=("b", "a"), val=("c",), test=("d",), rule="by hand").train
        ('a', 'b')
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    rule: str
    fold: int | None = None
    seed: int | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in PARTITIONS:
            ids = sorted(str(patient) for patient in getattr(self, name))
            object.__setattr__(self, name, tuple(ids))
            if len(set(ids)) < len(ids):
                twice = [a for a, b in itertools.pairwise(ids) if a == b]
                raise SplitError(f"split {self.rule}: {name_some(twice)} appear(s) more than once in {name}")
        object.__setattr__(self, "notes", tuple(self.notes))
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            shared = sorted(set(getattr(self, first)) & set(getattr(self, second)))
            if shared:
                raise SplitError(
                    f"split {self.rule}: {first} and {second} share {name_some(shared)}; "
                    "a patient belongs to one partition"
                )

    @property
    def patients(self) -> tuple[str, ...]:
        """All patients, train first, then val, then test."""
        return self.train + self.val + self.test

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of who is where; rule, fold, seed and notes do not enter."""
        return _hash(self.train, self.val, self.test)

    def partition_of(self, patient_ids: Sequence[str] | pd.Series) -> npt.NDArray[np.str_]:
        """Name of each patient's partition.

        Args:
            patient_ids: N ids, repetitions allowed.

        Returns:
            str [N]: "train", "val" or "test".

        Raises:
            SplitError: a patient that is in no partition.
        """
        asked = pd.Index(pd.Series(patient_ids, dtype="str"))
        position = pd.Index(pd.Series(self.patients, dtype="str")).get_indexer(asked)
        if (position < 0).any():
            raise SplitError(
                f"split {self.rule} does not know {name_some(sorted(set(asked[position < 0])))}; "
                "it was made from other patients: make the split anew from this collection"
            )
        sizes = [len(self.train), len(self.val), len(self.test)]
        return np.repeat(np.array(PARTITIONS), sizes)[position]

    def to_json(self) -> str:
        """One JSON object, two-space indented, with the hash; `from_json` gives the same value back."""
        record: dict[str, Any] = {name: list(getattr(self, name)) for name in PARTITIONS}
        record |= {"rule": self.rule, "fold": self.fold, "seed": self.seed, "notes": list(self.notes)}
        return json.dumps({"hash": self.hash, **record}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> Split:
        """Inverse of `to_json`.

        Raises:
            SplitError: no JSON, a missing entry, or patients that do not match the stored hash.
        """
        try:
            record = json.loads(text)
            stored = record.pop("hash")
            split = cls(
                train=tuple(record["train"]),
                val=tuple(record["val"]),
                test=tuple(record["test"]),
                rule=record["rule"],
                fold=record["fold"],
                seed=record["seed"],
                notes=tuple(record["notes"]),
            )
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise SplitError(f"this is not a split written by lungdet: {error!r}") from error
        if split.hash != stored:
            raise SplitError(f"the patients of this split were edited: hash {split.hash[:12]}, stored {stored[:12]}")
        return split


def patient_table(series: pd.DataFrame, *, n_positive: pd.Series, n_negative: pd.Series) -> pd.DataFrame:
    """One row per patient, as split rules take it.

    Args:
        series: one row per series with series_uid, patient_id and, where known, subset.
        n_positive: number of positives, indexed by series_uid; series that are missing have none.
        n_negative: the same for negatives.

    Returns:
        patient_id str, n_series, n_positive, n_negative int64, and subsets (tuple of int, sorted) when `series` has
        subset; sorted by patient_id.
    """
    counted = pd.DataFrame(
        {
            "patient_id": series["patient_id"].astype(str),
            "n_series": 1,
            "n_positive": series["series_uid"].map(n_positive).fillna(0).astype(np.int64),
            "n_negative": series["series_uid"].map(n_negative).fillna(0).astype(np.int64),
        }
    )
    table = counted.groupby("patient_id", sort=True).sum()
    if "subset" in series:
        by_patient = series["subset"].groupby(series["patient_id"].astype(str))
        table["subsets"] = [tuple(sorted({int(s) for s in subsets})) for _, subsets in by_patient]
    return table.reset_index()


def name_some(patients: Iterable[str]) -> str:
    """How many patients, and the first five by name, for messages."""
    listed = list(patients)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{len(listed)} patient(s): {', '.join(listed[:_SHOWN])}{more}"


def _hash(*partitions: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(partitions, separators=(",", ":")).encode()).hexdigest()
