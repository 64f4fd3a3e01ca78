"""The candidate table as it is, or what to do where there is none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lungdet.data.candidates import CandidateSamples
from lungdet.errors import TableError
from lungdet.io.luna16 import Luna16, read_luna16


def test_points_are_the_table_of_the_collection(luna_root: Path) -> None:
    collection: Luna16 = read_luna16(luna_root)
    assert CandidateSamples().points(collection) is collection.candidates
    without = dataclasses.replace(collection, candidates=None)
    with pytest.raises(TableError, match=r"has no candidates_V2\.csv or candidates\.csv; .*data\.candidates_file=$"):
        CandidateSamples().points(without)


def test_negatives_come_first() -> None:
    assert CandidateSamples().classes == ("non_nodule", "nodule")
