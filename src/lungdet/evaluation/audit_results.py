"""What a leak audit found, as plain records, and its verdict in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

PARTITION_WORDS = {"train": "training", "val": "validation", "test": "test"}
_SHOWN = 5


@dataclass(frozen=True)
class AuditWords:
    """What the audit calls the things that it compares.

    Attributes:
        one, several: what has a name of its own.
        pixels: several of what has pixels, for CT the same things.
        column: `several` as the head of a column.
        are_images: whether these are the rows themselves, and not scans in which rows lie.
    """

    one: str = "series"
    several: str = "series"
    pixels: str = "scans"
    column: str = "CT series"
    are_images: bool = False


CT_WORDS = AuditWords()


@dataclass(frozen=True)
class AuditedPartition:
    """Who is in one partition of one fold.

    Attributes:
        fold: -1 for a split without folds.
        name: "train", "val" or "test".
        patients: how many.
        series, rows: how many; None where only the split was read.
        labels: class -> rows; empty where nobody counted.
    """

    fold: int
    name: str
    patients: int
    series: int | None = None
    rows: int | None = None
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class NamedScan:
    """A scan and where it lies; `partition` is that of the fold in which the group crosses, else of the first fold."""

    series_uid: str
    patient_id: str
    partition: str


@dataclass(frozen=True)
class EqualPixels:
    """Scans with equal pixels under different names.

    Attributes:
        pixel_hash: of all of them.
        scans: two or more.
        crosses_in: folds (-1 for none) in which they lie in different partitions; empty when they never do.
    """

    pixel_hash: str
    scans: tuple[NamedScan, ...]
    crosses_in: tuple[int, ...]

    def named(self, words: AuditWords = CT_WORDS) -> str:
        """`series 1.2 of patient A (training) and series 1.3 of patient B (test)`."""
        # Where nobody knows the patients, each image is one.
        of = [f" of patient {s.patient_id}" if s.patient_id != s.series_uid else "" for s in self.scans]
        named = [
            f"{words.one} {scan.series_uid}{patient} ({partition_word(scan.partition)})"
            for scan, patient in zip(self.scans, of, strict=True)
        ]
        return f"{', '.join(named[:-1])} and {named[-1]}"


@dataclass(frozen=True)
class Choice:
    """Something that was chosen on data.

    Attributes:
        what: "Checkpoint", "Thresholds", ...
        on: the partition, or "unknown".
        how: in words.
        by_others: whether what chose it may have seen patients who validate or test here.
    """

    what: str
    on: str
    how: str = ""
    by_others: bool = False


@dataclass(frozen=True)
class Audit:
    """Who and what is in two partitions of the same fold, and what was chosen on which partition.

    Attributes:
        folds: of the predictions table.
        shared_patients, shared_series: ids in two partitions of the same fold.
        looked_at: "scans" (audit.json: all partitions, by id and by pixels), "split" (split.json: all patients, no
            pixels) or "table" (validation and test rows only).
        shared_in: id -> partitions, for the ids of `shared_patients` and `shared_series`.
        partitions: by fold, train first.
        equal_pixels: those across partitions first.
        scans_hashed: how many scans were compared by pixels; None where none were.
        scans_of_one_value: series left out of that because they hold nothing (all voxels equal).
        choices: checkpoint, thresholds, calibration, ...
        seen_before: patients who validate or test here and trained the network that this one started from; None where
            nobody knows, empty without such a network.
        words: what series and scans are called.
        patients_known: whether anybody knows which images are of one patient; where nobody does, each image stands as a
            patient under its own name.
    """

    folds: tuple[int, ...]
    shared_patients: tuple[str, ...]
    shared_series: tuple[str, ...]
    looked_at: Literal["scans", "split", "table"] = "table"
    shared_in: dict[str, tuple[str, ...]] = field(default_factory=dict)
    partitions: tuple[AuditedPartition, ...] = ()
    equal_pixels: tuple[EqualPixels, ...] = ()
    scans_hashed: int | None = None
    scans_of_one_value: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    seen_before: tuple[str, ...] | None = ()
    words: AuditWords = CT_WORDS
    patients_known: bool = True

    @property
    def disjoint(self) -> bool:
        """No patient, no series and no scan's pixels are in two partitions of a fold."""
        return not (self.shared_patients or self.shared_series or self.crossing)

    @property
    def crossing(self) -> tuple[EqualPixels, ...]:
        """Equal pixels in different partitions of a fold: a leak."""
        return tuple(group for group in self.equal_pixels if group.crosses_in)

    @property
    def chosen_on_test(self) -> tuple[Choice, ...]:
        """Choices that saw the rows they are judged on."""
        return tuple(choice for choice in self.choices if choice.on == "test")

    @property
    def verdict(self) -> str:
        """One line: `No leak found: ...` or `LEAK: ...`."""
        leaks = [leak for _, leak in leaks_of(self)]
        if self.seen_before:
            leaks.append(
                f"{listed(self.seen_before, 'patient', 'patients')} of validation or test trained the network that "
                "this one started from"
            )
        if leaks:
            return f"LEAK: {'; '.join(leaks)}."
        unknown = "" if self.seen_before is not None else " Nobody knows whom the initial weights had seen."
        if not self.patients_known:
            unknown = f" Nobody knows which {self.words.several} are of one patient or slide.{unknown}"
        return f"No leak found: {_what_was_compared(self)}.{unknown}"


def leaks_of(audit: Audit) -> Iterator[tuple[str, str]]:
    """Code and words of every leak that the audit itself found: ids, pixels, choices."""
    words = audit.words
    for kind, plural, names in (
        ("patient", "patients", audit.shared_patients),
        (words.one, words.several, audit.shared_series),
    ):
        # The series of a patient who is on both sides are usually there too: say that once.
        if names and (kind == "patient" or not audit.shared_patients):
            where = sorted({audit.shared_in.get(name, ("val", "test")) for name in names})
            sides = " or ".join(" and ".join(map(partition_word, partitions)) for partitions in where)
            yield "leak", f"{listed(names, kind, plural)} in {sides} of the same fold"
    if audit.crossing:
        first = [group.named(words) for group in audit.crossing[:_SHOWN]]
        more = f"; and {len(audit.crossing) - _SHOWN} more groups" if len(audit.crossing) > _SHOWN else ""
        yield "leak_pixels", f"the same pixels in different partitions: {'; '.join(first)}{more}"
    for choice in audit.chosen_on_test:
        yield "leak_choice", f"{choice.what[:1].lower()}{choice.what[1:]} chosen on test"


def listed(names: Iterable[str], noun: str, plural: str) -> str:
    """`1 patient (a)`, `7 patients (a, b, c, d, e and 2 more)`."""
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return f"{len(every):,} {noun if len(every) == 1 else plural} ({', '.join(every[:_SHOWN])}{more})"


def partition_word(name: str) -> str:
    """`val` -> `validation`; a name that is none stays as it is."""
    return PARTITION_WORDS.get(name, name)


def _what_was_compared(audit: Audit) -> str:
    fold, words = " of a fold" if len(audit.folds) > 1 else "", audit.words
    nothing_shared = f"no patient and no {words.one}" if audit.patients_known else f"no {words.one}"
    if audit.looked_at == "table":
        return (
            f"{nothing_shared} is in both validation and test{fold}, as far as the predictions table shows. "
            f"Training {'patients' if audit.patients_known else words.several} are not in it, and pixels were not "
            "compared"
        )
    if audit.looked_at == "split":
        one = "patient" if audit.patients_known else words.one
        return f"no {one} is in two partitions{fold}, by the split of the run. Pixels were not compared"
    return (
        f"{nothing_shared} is in two partitions{fold}, and no two of {audit.scans_hashed or 0:,} "
        f"{words.pixels} in different partitions have the same pixels"
    )
