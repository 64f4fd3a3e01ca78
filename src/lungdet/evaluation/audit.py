"""The leak audit of a report: what the run recorded about its partitions, and what its table of predictions shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lungdet.errors import TableError
from lungdet.evaluation.audit_results import (
    CT_WORDS,
    Audit,
    AuditedPartition,
    AuditWords,
    Choice,
    EqualPixels,
    NamedScan,
)

_NO_FOLD = -1
_ORDER = ("train", "val", "test")


def audit_partitions(
    table: pd.DataFrame,
    *,
    record: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    thresholds: Choice | None = None,
    calibration: Mapping[str, Any] | None = None,
    words: AuditWords = CT_WORDS,
) -> Audit:
    """Patients, series and pixels in two partitions of a fold, and where things were chosen.

    Args:
        table: fold, partition, patient_id, series_uid; of validation and test.
        record: audit.json (`lungdet.training.leak_audit`), several of them by `merge_audits`, or `audit_of_split`;
            None looks at the table alone.
        provenance: of the run: checkpoint_chosen_by, checkpoint_chosen_on, initial_weights, seen_by_initial_weights.
        thresholds: where and how they were chosen, if they were.
        calibration: calibration.json: method, fitted_on.
        words: what series and scans are called.
    """
    provenance = provenance or {}
    audits = _by_fold(record)
    shared = {column: _in_table(table, column) for column in ("patient_id", "series_uid")}
    for audit in audits:
        for column, key in (("patient_id", "shared_patients"), ("series_uid", "shared_series")):
            for name, partitions in audit.get(key, {}).items():
                shared[column][name] = tuple(partitions)
    with_pixels = [audit for audit in audits if "scans_hashed" in audit]
    started = "initial_weights" in provenance
    seen = provenance.get("seen_by_initial_weights") if started else ()
    return Audit(
        folds=tuple(int(fold) for fold in sorted(table["fold"].unique())),
        shared_patients=tuple(sorted(shared["patient_id"])),
        shared_series=tuple(sorted(shared["series_uid"])),
        looked_at="table" if not audits else "scans" if len(with_pixels) == len(audits) else "split",
        shared_in=shared["patient_id"] | shared["series_uid"],
        partitions=tuple(_recorded(audits) if audits else _counted(table)),
        equal_pixels=_equal_pixels(with_pixels),
        scans_hashed=max((int(audit["scans_hashed"]) for audit in with_pixels), default=None),
        scans_of_one_value=tuple(sorted({uid for audit in with_pixels for uid in audit["scans_of_one_value"]})),
        choices=tuple(_choices(provenance, thresholds, calibration, audits)),
        seen_before=None if seen is None else tuple(map(str, seen)),
        words=words,
        patients_known=not (words.are_images and (table["patient_id"] == table["series_uid"]).any()),
    )


def audit_of_split(split: Mapping[str, Any]) -> dict[str, Any]:
    """What a run without audit.json still knows: the content of its split.json, in the form of an audit.

    Args:
        split: train, val, test: patient ids; fold.
    """
    where: dict[str, list[str]] = {}
    for name in _ORDER:
        for patient in split[name]:
            where.setdefault(str(patient), []).append(name)
    return {
        "fold": split.get("fold"),
        "partitions": {name: {"patients": len(set(split[name]))} for name in _ORDER},
        "shared_patients": {patient: names for patient, names in where.items() if len(names) > 1},
    }


def merge_audits(audits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The audits of the folds of one cross-validation as one record, the audit.json of the whole.

    They stay apart inside: a patient who validates in one fold and is tested in another is no leak.

    Raises:
        TableError: none given, or two of one fold.
    """
    folds = [audit.get("fold") for audit in audits]
    if not audits or len(set(folds)) < len(folds):
        raise TableError(f"audits of folds {folds} cannot be merged: give one audit.json of each fold")
    return {"folds": sorted((dict(audit) for audit in audits), key=_fold)}


def _by_fold(record: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if record is None:
        return []
    return list(record["folds"]) if "folds" in record else [record]


def _fold(audit: Mapping[str, Any]) -> int:
    fold = audit.get("fold")
    return _NO_FOLD if fold is None else int(fold)


def _in_table(table: pd.DataFrame, column: str) -> dict[str, tuple[str, ...]]:
    """Id -> partitions, of the ids in both partitions of a fold."""
    seen = table[["fold", "partition", column]].drop_duplicates()
    several = seen[seen.duplicated(["fold", column], keep=False)]
    return {
        str(name): tuple(sorted(here.unique(), key=_ORDER.index))
        for name, here in several.groupby(column, observed=True)["partition"]
    }


def _recorded(audits: Sequence[Mapping[str, Any]]) -> Iterator[AuditedPartition]:
    for audit in audits:
        for name in _ORDER:
            counts = audit["partitions"][name]
            # JSON sorts its keys; the classes have an order.
            labels = {word: counts["labels"][word] for word in audit["classes"]} if "labels" in counts else {}
            yield AuditedPartition(
                _fold(audit),
                name,
                patients=counts["patients"],
                series=counts.get("series"),
                rows=counts.get("rows"),
                labels=labels,
            )


def _counted(table: pd.DataFrame) -> Iterator[AuditedPartition]:
    for fold, rows in table.groupby("fold"):
        for name in _ORDER[1:]:
            here = rows[rows["partition"] == name]
            yield AuditedPartition(
                int(str(fold)), name, here["patient_id"].nunique(), here["series_uid"].nunique(), rows=len(here)
            )


def _equal_pixels(audits: Sequence[Mapping[str, Any]]) -> tuple[EqualPixels, ...]:
    """One entry a hash, whatever the number of folds; those that cross partitions first."""
    crosses_in: dict[str, list[int]] = {}
    scans: dict[str, list[dict[str, str]]] = {}
    for audit in audits:
        for group in audit["equal_pixels"]:
            digest = group["pixel_hash"]
            crossed = crosses_in.setdefault(digest, [])
            if digest not in scans or (group["crosses_partitions"] and not crossed):
                scans[digest] = group["scans"]
            if group["crosses_partitions"]:
                crossed.append(_fold(audit))
    groups = [
        EqualPixels(digest, tuple(NamedScan(**scan) for scan in members), tuple(crosses_in[digest]))
        for digest, members in scans.items()
    ]
    return tuple(sorted(groups, key=lambda group: not group.crosses_in))


def _choices(
    provenance: Mapping[str, Any],
    thresholds: Choice | None,
    calibration: Mapping[str, Any] | None,
    audits: Sequence[Mapping[str, Any]],
) -> Iterator[Choice]:
    chosen_by = str(provenance.get("checkpoint_chosen_by", ""))
    yield Choice("Checkpoint", str(provenance.get("checkpoint_chosen_on", "unknown")), chosen_by)
    if thresholds is not None:
        yield thresholds
    if calibration and calibration.get("method", "none") != "none":
        yield Choice("Calibration", str(calibration.get("fitted_on", "unknown")), str(calibration["method"]))
    # Kept by table: the folds of a cross-validation may share one.
    mined = {str(entry["table"]): entry for audit in audits for entry in audit.get("extra_negatives", ())}
    origin = {True: "a network of this split", False: "a network of another split", None: "an unknown network"}
    for table, entry in mined.items():
        same = entry["same_split"]
        yield Choice("Extra negatives", "train", f"{table}, chosen by {origin[same]}", by_others=same is False)
