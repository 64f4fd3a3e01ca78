"""Rules that decide which patients train, validate and test.

A rule is a plain class named by YAML (`split=grouped_kfold split.fold=2`): the constructor takes its parameters, the
call takes the table of patients. Another rule is another class with that call; nothing here has to know it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.data.partitions import PARTITIONS, Split, name_some, patient_table
from lungdet.data.stratification import deal_folds, draw_fraction, stratify
from lungdet.errors import SplitError

__all__ = ["PARTITIONS", "GroupedKFold", "Holdout", "Official", "Split", "SplitRule", "patient_table"]

logger = logging.getLogger(__name__)


class SplitRule(Protocol):
    """What `split=...` names: patients in, `Split` out. `patients` is a table as `patient_table` makes it."""

    def __call__(self, patients: pd.DataFrame) -> Split:
        """Put every patient of the table into one partition."""
        ...


@dataclass(frozen=True, kw_only=True)
class GroupedKFold:
    """K folds of patients, stratified by their number of positives; fold number `fold` is the test partition.

    Strata are 0, 1, 2, 3-4 and 5 or more positives per patient. The validation part is drawn, with the same strata,
    from the patients outside the test fold, so that a checkpoint is never chosen on the fold that is reported. Over
    all folds every patient is tested exactly once.

    Args:
        n_folds: 2 or more, at most the number of patients with positives.
        fold: 0..n_folds-1.
        val_fraction: share of the patients outside the test fold, in (0, 1).
        seed: of the shuffle; the same for all folds of one experiment.
    """

    n_folds: int = 5
    fold: int = 0
    val_fraction: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_folds < 2:
            raise SplitError(f"split.n_folds={self.n_folds}: at least 2 folds are needed; type split.n_folds=5")
        _check_fold(self.fold, self.n_folds)
        _check_fraction("val_fraction", self.val_fraction)

    def __call__(self, patients: pd.DataFrame) -> Split:
        """Split the table of patients (see `patient_table`).

        Raises:
            SplitError: fewer patients, or fewer patients with positives, than the folds need.
        """
        table = _checked(patients)
        positive = int((table["n_positive"] > 0).sum())
        if positive < self.n_folds:
            remedy = (
                f"type split.n_folds=2..{positive} or split=holdout"
                if positive >= 2
                else "add scans: two folds need two"
            )
            raise SplitError(
                f"split.n_folds={self.n_folds}: of {len(table)} patients {positive} have positives, and every fold "
                f"needs one; {remedy}"
            )
        strata = stratify(table["n_positive"].to_numpy())
        is_test = deal_folds(strata, n_folds=self.n_folds, seed=self.seed) == self.fold
        is_val = draw_fraction(strata, ~is_test, fraction=self.val_fraction, seed=(self.seed, self.fold))
        return _split(table, is_val, is_test, rule=self, fold=self.fold, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Holdout:
    """One draw of patients into train, val and test, stratified by their number of positives.

    Args:
        val_fraction: share of all patients, in (0, 1).
        test_fraction: share of all patients, in (0, 1); both together below 1.
        seed: of the draw.
    """

    val_fraction: float = 0.15
    test_fraction: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        _check_fraction("val_fraction", self.val_fraction)
        _check_fraction("test_fraction", self.test_fraction)
        if self.val_fraction + self.test_fraction >= 1:
            raise SplitError(
                f"split.val_fraction={self.val_fraction} and split.test_fraction={self.test_fraction} leave nothing "
                "to train on; their sum must be below 1"
            )

    def __call__(self, patients: pd.DataFrame) -> Split:
        """Split the table of patients (see `patient_table`).

        Raises:
            SplitError: too few patients, or too few with positives, for three partitions.
        """
        table = _checked(patients)
        strata = stratify(table["n_positive"].to_numpy())
        is_test = draw_fraction(
            strata, np.ones(len(table), dtype=bool), fraction=self.test_fraction, seed=(self.seed, 0)
        )
        rest = self.val_fraction / (1 - self.test_fraction)
        is_val = draw_fraction(strata, ~is_test, fraction=rest, seed=(self.seed, 1))
        return _split(table, is_val, is_test, rule=self, fold=None, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class Official:
    """The test part that a collection ships: of LUNA16 the subset `fold` of ten, of images the one shipped test part.

    The validation part is drawn from the rest.

    A patient with series in two subsets (LIDC-IDRI-0332: 2 and 6) would train and test at once; all of it counts as the
    lower subset, and the split's notes say so.

    Args:
        fold: 0..9, the subset that is tested; images have one test part, fold 0.
        val_fraction: share of the other patients, in (0, 1), stratified by their number of positives.
        seed: of the validation draw.

    Attributes:
        n_folds: ten.
    """

    n_folds: ClassVar[int] = 10
    fold: int = 0
    val_fraction: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        _check_fold(self.fold, self.n_folds)
        _check_fraction("val_fraction", self.val_fraction)

    def __call__(self, patients: pd.DataFrame) -> Split:
        """Split the table of patients (see `patient_table`); needs its column `subsets` or `shipped`.

        Raises:
            SplitError: series outside any subset folder, or no series of the tested subset; no shipped test part.
        """
        table = _checked(patients)
        if "shipped" in table:
            return self._as_shipped(table)
        if "subsets" not in table:
            raise SplitError(
                "split=official needs the test part that a collection ships; this one ships none: type split=holdout"
            )
        lowest = np.array([min(subsets) for subsets in table["subsets"]], dtype=np.int64)
        if (lowest < 0).any():
            raise SplitError(
                f"split=official: {name_some(table['patient_id'][lowest < 0])} lie(s) in no subset folder; "
                "put the scans into subset0..subset9, or type split=grouped_kfold"
            )
        present = sorted(set(lowest.tolist()))
        if self.fold not in present or len(present) < 2:
            raise SplitError(
                f"split.fold={self.fold}: the series at hand are of subset(s) {present}; testing one subset needs "
                "it and at least one other: type split.fold= one of them, or split=grouped_kfold"
            )
        notes = [
            f"patient {patient} has series in subsets {', '.join(map(str, sorted(subsets)))}: "
            f"all of them count as subset {min(subsets)}, or the patient would be in two partitions"
            for patient, subsets in zip(table["patient_id"], table["subsets"], strict=True)
            if len(subsets) > 1
        ]
        for note in notes:
            logger.warning("split=official: %s", note)
        strata = stratify(table["n_positive"].to_numpy())
        is_test = lowest == self.fold
        is_val = draw_fraction(strata, ~is_test, fraction=self.val_fraction, seed=(self.seed, self.fold))
        return _split(table, is_val, is_test, rule=self, fold=self.fold, seed=self.seed, notes=tuple(notes))

    def _as_shipped(self, table: pd.DataFrame) -> Split:
        """Patients with anything in the shipped test part are tested, whatever else they have."""
        is_test = np.array(["test" in parts for parts in table["shipped"]])
        if not is_test.any():
            raise SplitError("split=official: the collection at hand has no shipped test part; type split=holdout")
        if self.fold:
            raise SplitError(f"split.fold={self.fold}: the shipped test part is one; type split.fold=0")
        strata = stratify(table["n_positive"].to_numpy())
        is_val = draw_fraction(strata, ~is_test, fraction=self.val_fraction, seed=(self.seed, 0))
        return _split(table, is_val, is_test, rule=self, fold=None, seed=self.seed)


def _checked(patients: pd.DataFrame) -> pd.DataFrame:
    """Sorted by patient, so that the order of the table's rows does not matter."""
    missing = {"patient_id", "n_positive"} - set(patients.columns)
    if missing:
        raise SplitError(f"the table of patients lacks {sorted(missing)}; it has {list(patients.columns)}")
    table = patients.sort_values("patient_id", kind="stable", ignore_index=True)
    twice = table["patient_id"][table["patient_id"].duplicated()]
    if len(twice):
        raise SplitError(
            f"the table of patients lists {name_some(twice)} more than once; group the series by patient first"
        )
    return table


def _split(
    table: pd.DataFrame,
    is_val: npt.NDArray[np.bool_],
    is_test: npt.NDArray[np.bool_],
    *,
    rule: object,
    fold: int | None,
    seed: int,
    notes: tuple[str, ...] = (),
) -> Split:
    """Build the value and refuse partitions that could neither train nor be scored."""
    masks = {"train": ~(is_val | is_test), "val": is_val, "test": is_test}
    for name, mask in masks.items():
        for column in ("n_positive", "n_negative"):
            if column in table and not (table[column].to_numpy()[mask] > 0).any():
                have = int((table[column] > 0).sum())
                raise SplitError(
                    f"split {rule}: {name} would hold {int(mask.sum())} patient(s) and none with {column[2:]}s "
                    f"({have} of {len(table)} patients have some); use other fractions or folds (split.val_fraction=, "
                    "split.n_folds=, split.fold=), another split.seed=, or more scans"
                )
    ids = table["patient_id"].astype(str).to_numpy()
    parts = {name: tuple(ids[mask].tolist()) for name, mask in masks.items()}
    return Split(**parts, rule=str(rule), fold=fold, seed=seed, notes=notes)


def _check_fold(fold: int, n_folds: int) -> None:
    if not 0 <= fold < n_folds:
        raise SplitError(f"split.fold={fold} does not exist: type split.fold=0..{n_folds - 1} ({n_folds} folds)")


def _check_fraction(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise SplitError(f"split.{name}={value} must lie between 0 and 1 (both excluded); type split.{name}=0.15")
