"""Tables about images: names of columns, empty values and wrong rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.io.image_table import first_few, read_image_table, refuse_rows

COLUMNS = {"patch_id": ("id", "patch_id")}


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_names_in_any_case_and_other_columns_left_out(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"﻿ Patch_ID {mark}x{mark}WSI\n a {mark}1{mark}\n\n007{mark}2{mark}s2\n", encoding="utf-8")
    table = read_image_table(path, COLUMNS, optional={"slide_id": ("wsi",), "group": ("group",)})
    assert table.to_dict("list") == {"patch_id": ["a", "007"], "slide_id": ["", "s2"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\na\n", r"no column id or patch_id; it has name"),
        ("id\n", r"the table has no rows"),
        ("", r"not a readable table"),
        ('id\n"a\n', r"not a readable table"),
        ("id,x\na,1\n\n ,2\n", r"line 4: '' for patch_id: allowed is a text that is not empty"),
    ],
)
def test_wrong_tables(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(TableError, match=rf"a\.csv: {message}"):
        read_image_table(tmp_path / "a.csv", COLUMNS)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"a\.csv: no such table"):
        read_image_table(tmp_path / "a.csv", COLUMNS)


def test_the_first_wrong_row_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id\na\n\nb\na\n")
    table = read_image_table(path, COLUMNS)
    refuse_rows(path, table["patch_id"] == "c", table["patch_id"], "never")
    with pytest.raises(TableError, match=r"a\.csv: line 5: 'a' for id: listed twice"):
        refuse_rows(path, table["patch_id"].duplicated(), table["patch_id"], "id: listed twice")


def test_first_few() -> None:
    assert first_few(["a"]) == "a"
    assert first_few(iter("abcdefg")) == "a, b, c, d, e and 2 more"
