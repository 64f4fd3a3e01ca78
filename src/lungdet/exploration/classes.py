"""How many rows and patients there are of each class, in each shipped part, and how rows spread over patients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lungdet.evaluation.page import count_text
from lungdet.evaluation.results import Finding
from lungdet.exploration.content import Drawing, Section, Table, Words, first_capital
from lungdet.exploration.figures import balance_figure, per_patient_figure

# Below this many patients of a class every number about it is anecdotal.
_FEW_PATIENTS = 20
# From here on plain accuracy and a threshold of 0.5 mislead, and sampling or weighting is worth its trouble.
_IMBALANCED = 4.0
# Between shipped parts; a threshold or a calibration does not survive that.
_OTHER_PREVALENCE = 0.1


def classes_section(rows: pd.DataFrame, words: Words) -> Section:
    """Class balance: of everything and, where the collection ships parts, of each.

    Args:
        rows: patient_id str, label int (a place in `words.classes`), partition str (empty outside the shipped parts).
        words: how rows and classes are called.
    """
    parts = _in_order([str(name) for name in dict.fromkeys(rows["partition"]) if name])
    record = {
        place: _counted(rows if place == "all" else rows[rows["partition"] == place], words)
        for place in ["all", *parts]
    }
    compared = len(words.classes) > 1
    heads = [
        "",
        *(f"{name}, {words.items}" for name in words.classes),
        *(f"{name}, patients" for name in words.classes),
    ]
    heads += [f"share of {words.classes[-1]}"] if compared else []
    lines = [
        (first_capital(place), *count["rows"].values(), *count["patients"].values())
        + ((count["positive_share"],) if compared else ())
        for place, count in record.items()
    ]
    caption = f"{words.title} and patients of each class" + (f", in all and by {words.part}." if parts else ".")
    caption += " A patient with rows of both classes counts in both." if compared else ""
    balance = {place: list(count["rows"].values()) for place, count in record.items()}
    return Section(
        name="classes",
        title="Classes",
        tables=(Table(caption, tuple(heads), tuple(lines)),),
        drawings=(Drawing("class-balance", balance_figure(balance, words.classes), f"{words.title} of each class."),)
        if compared
        else (),
        findings=tuple(_about_classes(rows, record, words)),
        record=record,
    )


def patients_section(rows: pd.DataFrame, words: Words, *, is_explained: bool = False) -> Section:
    """How many rows a patient has, by class, and patients with rows of both.

    Args:
        rows: as for `classes_section`.
        words: how rows and classes are called.
        is_explained: whether the collection itself says why every row is a patient of its own, if that is so.
    """
    counts = pd.crosstab(rows["patient_id"], rows["label"]).reindex(columns=range(len(words.classes)), fill_value=0)
    total = counts.sum(axis=1).to_numpy()
    per_class = {name: column[column > 0] for name, column in zip(words.classes, counts.to_numpy().T, strict=True)}
    lines = [(name, *_spread(values)) for name, values in {"All": total, **per_class}.items()]
    both = int((counts.to_numpy() > 0).all(axis=1).sum())
    heads = ("", "patients", "fewest", "median", "mean", "most")
    most = counts.index[np.argsort(-total, kind="stable")[:5]]
    record = {
        "patients": len(counts),
        "with_all_classes": both,
        "rows_per_patient": {line[0]: dict(zip(heads[1:], line[1:], strict=True)) for line in lines},
        "most_rows": {str(name): int(total[counts.index.get_loc(name)]) for name in most},
    }  # fmt: skip
    return Section(
        name="patients",
        title="Patients",
        text=f"{count_text(both, 'patient has', 'patients have')} {words.items} of more than one class."
        if len(counts) < len(rows)
        else f"Every {words.item} counts as a patient of its own.",
        tables=(Table(f"{words.title} per patient.", heads, tuple(lines)),),
        drawings=(
            Drawing(
                "per-patient",
                per_patient_figure(per_class, items=words.items),
                f"How many {words.items} of a class a patient has.",
            ),
        )
        if len(counts) < len(rows)
        else (),
        findings=() if is_explained else tuple(_about_patients(rows, len(counts), words)),
        record=record,
    )


def _counted(rows: pd.DataFrame, words: Words) -> dict[str, Any]:
    counts = {name: int((rows["label"] == label).sum()) for label, name in enumerate(words.classes)}
    patients = {
        name: int(rows.loc[rows["label"] == label, "patient_id"].nunique()) for label, name in enumerate(words.classes)
    }
    positive = counts[words.classes[-1]]
    return {"rows": counts, "patients": patients, "positive_share": positive / len(rows) if len(rows) else float("nan")}


def _in_order(parts: list[str]) -> list[str]:
    usual = {"train": 0, "val": 1, "test": 2}
    return sorted(parts, key=lambda name: (usual.get(name, len(usual)), name))


def _spread(values: Any) -> tuple[int, int, float, float, int]:
    numbers = np.asarray(values)
    if not numbers.size:
        return 0, 0, float("nan"), float("nan"), 0
    return len(numbers), int(numbers.min()), float(np.median(numbers)), float(numbers.mean()), int(numbers.max())


def _about_classes(rows: pd.DataFrame, record: dict[str, Any], words: Words) -> Iterator[Finding]:
    count = record["all"]
    empty = [name for name, n in count["rows"].items() if not n]
    for name in empty:
        yield Finding("warning", "empty_class", f"There are no {words.items} of the class {name}.")
    few = {name: n for name, n in count["patients"].items() if 0 < n < _FEW_PATIENTS}
    if few:
        said = ", ".join(f"{name} from {count_text(n, 'patient')}" for name, n in few.items())
        yield Finding(
            "warning", "few_patients",
            f"Few patients ({said}): numbers will be uncertain, whatever the number of {words.items}.",
        )  # fmt: skip
    sizes = [n for n in count["rows"].values() if n]
    if len(sizes) > 1 and max(sizes) / min(sizes) >= _IMBALANCED:
        most, least = max(count["rows"], key=count["rows"].get), min(count["rows"], key=count["rows"].get)
        yield Finding(
            "note", "imbalance",
            f"{max(sizes) / min(sizes):.3g} {words.items} of class {most} for one of {least}: accuracy says little "
            "here; read average precision, and choose how classes are sampled or weighted.",
        )  # fmt: skip
    parts = {place: part for place, part in record.items() if place != "all"}
    known = {
        place: part["positive_share"]
        for place, part in parts.items()
        if sum(part["patients"].values()) >= _FEW_PATIENTS
    }
    if known and max(known.values()) - min(known.values()) > _OTHER_PREVALENCE:
        high, low = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
        yield Finding(
            "note", "parts_differ",
            f"The share of {words.classes[-1]} is {known[high]:.0%} in {high} and {known[low]:.0%} in {low}: "
            "a threshold or a calibration chosen on one does not hold on the other.",
        )  # fmt: skip
    places = rows[rows["partition"] != ""].groupby("patient_id")["partition"].nunique()
    shared = int((places > 1).sum())
    if shared:
        yield Finding(
            "warning", "shared_patients",
            f"{count_text(shared, 'patient has', 'patients have')} {words.items} in more than one {words.part}: a "
            "split along them leaks; split by patient.",
        )  # fmt: skip


def _about_patients(rows: pd.DataFrame, n_patients: int, words: Words) -> Iterator[Finding]:
    if n_patients == len(rows) >= _FEW_PATIENTS:
        yield Finding(
            "note", "no_patients",
            f"No two {words.items} share a patient or group: either that is so, or nobody has said whose they are, and "
            "then a split cannot keep a patient's together.",
        )  # fmt: skip
