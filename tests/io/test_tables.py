from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.io.tables import Column, read_table, row_error

COLUMNS = {
    "id": Column("uid", "text"),
    "size": Column("size_mm", low=0, high=100),
    "n": Column("count", "whole", low=-1),
    "note": Column("remark", "free"),
}


def write(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = folder / "t.csv"
    path.write_bytes(text.encode(encoding))
    return path


GOOD = "id,size,n,note\na.1,1.5,3,x\n007,2e1,-1,\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace(",", "\t"),
        GOOD.rstrip("\n"),
        "\n" + GOOD.replace("\n", "\n\n"),
        "note,n, size ,extra,id\nx,3,1.5,9,a.1\n,-1,20.0,,007\n",
        'id,size,n,note\n"a.1",1.5,3.0,x\n 007 , 2e1 ,-1.0,\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_same_table_in_every_dress(tmp_path: Path, text: str, encoding: str) -> None:
    table = read_table(write(tmp_path, text, encoding=encoding), COLUMNS)
    assert list(table.columns) == ["uid", "size_mm", "count", "remark"]
    assert table["uid"].tolist() == ["a.1", "007"]
    assert table["size_mm"].tolist() == [1.5, 20.0]
    assert table["count"].tolist() == [3, -1]
    assert table["remark"].tolist() == ["x", ""]
    assert table["count"].dtype == np.int64
    assert table["size_mm"].dtype == np.float64
    assert table.index.tolist() == [0, 1]


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(-400, 400, 500)
    path = write(tmp_path, "v\n" + "\n".join(repr(float(v)) for v in values) + "\n")
    np.testing.assert_array_equal(read_table(path, {"v": Column("v")})["v"], values)


def test_a_table_of_no_rows(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "id,size,n,note\n"), COLUMNS)
    assert len(table) == 0
    assert table["size_mm"].dtype == np.float64


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b,nan,1,x", r"t\.csv: line 3: size is empty or NaN, allowed is a finite number from 0 to 100"),
        ("b,,1,x", "line 3: size is empty or NaN"),
        ("b,inf,1,x", "line 3: size is inf"),
        ("b,-0.1,1,x", "line 3: size is -0.1, allowed is a finite number from 0 to 100"),
        ("b,100.1,1,x", "line 3: size is 100.1"),
        ("b,big,1,x", "line 3: size is 'big', allowed is a finite number from 0 to 100"),
        ("b,1,1.5,x", "line 3: n is 1.5, allowed is a whole number"),
        ("b,1,-2,x", "line 3: n is -2.0"),
        (",1,1,x", "line 3: id is '', allowed is a text that is not empty"),
        ("b,1,1", r"line 3: 3 fields, expected 4 \(id, size, n, note\)"),
        ("b,1,1,x,y", "line 3: 5 fields, expected 4"),
    ],
)
def test_the_wrong_line_is_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_table(write(tmp_path, f"id,size,n,note\na,1,1,x\n{row}\nc,1,1,x\n"), COLUMNS)
    # Blank lines are no rows, but they are lines.
    with pytest.raises(TableError, match=message.replace("line 3", "line 6")):
        read_table(write(tmp_path, f"\nid,size,n,note\n\r\na,1,1,x\n\n{row}\nc,1,1,x\n"), COLUMNS)


def test_columns_are_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t\.csv: no column size, note; it has id, n\. Expected id, size, n, note"):
        read_table(write(tmp_path, "id,n\na,1\n"), COLUMNS)
    with pytest.raises(TableError, match="column id occurs more than once"):
        read_table(write(tmp_path, "id,id,size,n,note\na,a,1,1,x\n"), COLUMNS)
    with pytest.raises(TableError, match="the table is empty; expected a line of column names"):
        read_table(write(tmp_path, ""), COLUMNS)
    with pytest.raises(MissingFileError, match=r"u\.csv: no such table"):
        read_table(tmp_path / "u.csv", COLUMNS)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"id,size,n,note\n\xff\xfe,1,1,x\n")
    with pytest.raises(TableError, match=r"t\.csv: not a readable CSV table"):
        read_table(path, COLUMNS)


def test_numbers_that_only_python_would_read(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t\.csv: not a readable CSV table.*1_0"):
        read_table(write(tmp_path, "id,size,n,note\na,1_0,1,x\n"), COLUMNS)


def test_row_error_counts_data_rows_from_0(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    with pytest.raises(TableError, match=r"t\.csv: line 2: why"):
        row_error(path, 0, "why")
    with pytest.raises(TableError, match=r"t\.csv: line 3: why"):
        row_error(path, 1, "why")
