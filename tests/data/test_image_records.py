"""Records of six pictures under a split: ids, patients that pixels tie together, and what is left out."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.store.image_files import collection_of, write_pictures

from lungdet.data.image_records import image_records
from lungdet.data.partitions import Split
from lungdet.data.splits import Official, SplitRule
from lungdet.errors import StoreError
from lungdet.io.image_collection import ImageCollection
from lungdet.store.image_preprocess import ImageSpec
from lungdet.store.image_store import ImageStore
from lungdet.store.image_writer import store_images

Made = tuple[ImageCollection, ImageStore]
Make = Callable[..., Made]
ASKED: list[pd.DataFrame] = []


def all_train(patients: pd.DataFrame) -> Split:
    """A rule that keeps what it was asked."""
    ASKED.append(patients)
    return Split(tuple(patients["patient_id"]), (), (), rule="all train", notes=("A note of the rule.",))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(*, broken: tuple[str, ...] = (), copies: tuple[tuple[str, str], ...] = ()) -> Made:
        write_pictures(tmp_path, 6)
        for name in broken:
            (tmp_path / f"{name}.png").write_bytes(b"")
        for name, copy in copies:
            shutil.copy(tmp_path / f"{name}.png", tmp_path / f"{copy}.png")
        collection = collection_of(tmp_path)
        path = tmp_path / "store.zarr"
        store_images(collection, path, ImageSpec(size_hw=(8, 8), dark_frame=None))
        return collection, ImageStore(path)

    ASKED.clear()
    return build


def records(made: Made, *, rule: SplitRule = all_train, join: bool = True) -> tuple[pd.DataFrame, Split]:
    return image_records(*made, rule=rule, join_duplicates=join)


def test_images_in_the_words_of_candidates(make: Make) -> None:
    table, split = records(make())
    assert table["series_uid"].tolist() == [f"{n:03d}" for n in range(6)]
    assert table["patient_id"].tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert table["candidate_id"].tolist() == list(range(6))
    assert table["label"].tolist() == [0, 1] * 3
    assert str(table["label"].dtype) == "int8"
    assert (table[["center_x_mm", "center_y_mm", "center_z_mm"]] == 0).all(axis=None)
    assert table["diameter_mm"].map(math.isnan).all()
    assert set(table["partition"]) == {"train"}
    assert split.notes == ("A note of the rule.",)


def test_the_rule_is_asked_with_counts_and_without_shipped_parts(make: Make) -> None:
    records(make())
    (patients,) = ASKED
    assert patients["patient_id"].tolist() == ["p0", "p1", "p2"]
    assert patients["n_positive"].tolist() == patients["n_negative"].tolist() == [1, 1, 1]
    assert "shipped" not in patients


def test_shipped_parts_are_those_a_patient_has_images_in(make: Make) -> None:
    collection, store = make()
    images = collection.images.assign(partition=["test", "train", "val", "", "train", "train"])
    records((dataclasses.replace(collection, images=images), store))
    assert ASKED[0]["shipped"].tolist() == [("test", "train"), ("", "val"), ("train",)]


def test_what_could_not_be_stored_is_left_out_and_ids_stay(make: Make) -> None:
    table, split = records(make(broken=("001", "004")))
    assert table["candidate_id"].tolist() == [0, 2, 3, 5]
    assert table.index.tolist() == [0, 1, 2, 3]
    assert split.notes == ("A note of the rule.", "2 of 6 pictures could not be read and are left out.")


@pytest.mark.parametrize(
    ("copies", "patients", "said"),
    [
        ((("000", "003"),), ["p0"] * 4 + ["p2"] * 2, "2 pictures go with"),
        ((("000", "001"),), ["p0", "p0", "p1", "p1", "p2", "p2"], ""),
    ],
)
def test_equal_pixels_tie_patients_together(
    copies: tuple[tuple[str, str], ...], patients: list[str], said: str, make: Make
) -> None:
    made = make(copies=copies)
    table, split = records(made)
    assert table["patient_id"].tolist() == patients
    assert [note[: len(said)] for note in split.notes[1:]] == ([said] if said else [])
    apart, split = records(made, join=False)
    assert apart["patient_id"].tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert len(split.notes) == 1


def test_official_keeps_the_test_part_and_leaves_out_the_rest_of_its_patients(make: Make) -> None:
    collection, store = make()
    images = collection.images.assign(partition=["test", "train", "train", "train", "val", "train"])
    table, split = records((dataclasses.replace(collection, images=images), store), rule=Official(val_fraction=0.5))
    assert table["series_uid"].tolist() == ["000", "002", "003", "004", "005"]
    assert table["partition"].tolist()[0] == "test"
    assert set(table["partition"][1:]) == {"train", "val"}
    assert table.index.tolist() == list(range(5))
    assert split.notes[-1].startswith("1 picture is left out: of patients in the shipped test part, but not in it.")


def test_images_of_another_store_are_refused(make: Make) -> None:
    collection, store = make()
    more = pd.concat([collection.images, collection.images.tail(1).assign(image_id="006")], ignore_index=True)
    with pytest.raises(StoreError, match="has no image '006'"):
        records((dataclasses.replace(collection, images=more), store))
