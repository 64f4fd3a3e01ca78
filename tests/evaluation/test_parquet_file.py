"""A table is there as a whole or as it was before; what is no table is named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.evaluation.parquet_file import open_parquet, write_parquet

ONE, TWO = pa.table({"a": [1]}), pa.table({"a": [1, 2]})


def test_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "p.parquet"
    write_parquet(ONE, path)
    write_parquet(TWO, path)
    with open_parquet(path) as file:
        assert file.read().equals(TWO)
    assert [p.name for p in path.parent.iterdir()] == ["p.parquet"]


def test_a_write_that_fails_leaves_the_earlier_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.parquet"
    write_parquet(ONE, path)

    def broken(table: pa.Table, where: Path, **_: object) -> None:
        where.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", broken)
    with pytest.raises(OSError, match="disk full"):
        write_parquet(TWO, path)
    with open_parquet(path) as file:
        assert file.read().equals(ONE)


def test_what_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no predictions table there.*lungdet predict run="):
        open_parquet(tmp_path / "p.parquet")
    (tmp_path / "p.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(TableError, match="not a readable parquet file"):
        open_parquet(tmp_path / "p.parquet")
