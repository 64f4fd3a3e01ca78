"""`Split` cannot hold overlap, knows its patients and survives JSON."""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import pytest

from lungdet.data.partitions import Split, name_some, patient_table
from lungdet.errors import SplitError


def small(**changed: object) -> Split:
    parts: dict[str, object] = {"train": ("b", "a"), "val": ("c",), "test": ("d",), "rule": "by hand"}
    return Split(**(parts | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", [("train", "val"), ("train", "test"), ("val", "test")])
def test_overlap_cannot_be_constructed_and_the_error_names_the_patients(pair: tuple[str, str]) -> None:
    shared = tuple(f"p{n}" for n in range(7))
    with pytest.raises(
        SplitError, match=rf"{pair[0]} and {pair[1]} share 7 patient\(s\): p0, p1, p2, p3, p4 and 2 more"
    ):
        small(**dict.fromkeys(pair, shared))


def test_patient_twice_in_one_partition_is_refused() -> None:
    with pytest.raises(SplitError, match=r"1 patient\(s\): a appear\(s\) more than once in train"):
        small(train=("a", "a"))


def test_partitions_are_sorted() -> None:
    split = small(notes=["repaired"])
    assert split.train == ("a", "b")
    assert split.patients == ("a", "b", "c", "d")
    assert split.notes == ("repaired",)


def test_hash_is_sha256_of_the_three_lists_only() -> None:
    text = json.dumps([["a", "b"], ["c"], ["d"]], separators=(",", ":"))
    assert small().hash == hashlib.sha256(text.encode()).hexdigest()
    assert small(rule="other", seed=3, notes=("x",)).hash == small().hash
    assert small(val=("e",)).hash != small().hash


def test_json_gives_the_same_value_back() -> None:
    split = small(fold=2, seed=7, notes=("said",))
    assert Split.from_json(split.to_json()) == split
    assert json.loads(split.to_json())["hash"] == split.hash


def test_edited_json_is_refused() -> None:
    with pytest.raises(SplitError, match="patients of this split were edited"):
        Split.from_json(small().to_json().replace('"c"', '"z"'))


@pytest.mark.parametrize("text", ["not json", "{}", "[1]", '{"hash": "x", "train": 3}'])
def test_foreign_json_is_refused(text: str) -> None:
    with pytest.raises(SplitError, match="not a split written by lungdet"):
        Split.from_json(text)


def test_partition_of_repeats_and_keeps_order() -> None:
    assert small().partition_of(["d", "a", "c", "a"]).tolist() == ["test", "train", "val", "train"]
    assert small().partition_of(pd.Series(["b"])).tolist() == ["train"]


def test_unknown_patient_is_an_error() -> None:
    with pytest.raises(SplitError, match=r"does not know 2 patient\(s\): x, y"):
        small().partition_of(["a", "y", "x", "x"])


def test_name_some_shows_all_when_few() -> None:
    assert name_some(["a", "b"]) == "2 patient(s): a, b"


def test_patient_table_counts_by_patient_and_keeps_both_subsets() -> None:
    series = pd.DataFrame({"series_uid": ["s1", "s2", "s3"], "patient_id": ["q", "p", "q"], "subset": [6, 1, 2]})
    table = patient_table(series, n_positive=pd.Series({"s1": 2, "s3": 1}), n_negative=pd.Series({"s2": 5}))
    assert table.to_dict("list") == {
        "patient_id": ["p", "q"],
        "n_series": [1, 2],
        "n_positive": [0, 3],
        "n_negative": [5, 0],
        "subsets": [(1,), (2, 6)],
    }


def test_patient_table_without_subsets() -> None:
    series = pd.DataFrame({"series_uid": ["s1"], "patient_id": [17]})
    table = patient_table(series, n_positive=pd.Series({"s1": 1}), n_negative=pd.Series({"s1": 1}))
    assert list(table.columns) == ["patient_id", "n_series", "n_positive", "n_negative"]
    assert table["patient_id"].tolist() == ["17"]
