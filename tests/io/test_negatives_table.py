"""Tables of mined negatives: what is written comes back, and a table that is not what its card says is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.io.negatives_table import read_negatives, write_negatives

TABLE = pd.DataFrame(
    {
        "series_uid": ["1.2", "1.3"],
        "center_x_mm": [0.1 + 0.2, -5.0],
        "center_y_mm": [1 / 3, 0.0],
        "center_z_mm": [-100.123456789012, 7.0],
        "probability": [0.9, 0.5],
        "source": ["background", "candidates"],
    }
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_negatives(tmp_path / "new" / "mined.csv", TABLE, card={"run": "r1", "split_hash": "abc"})
    return tmp_path / "new" / "mined.csv"


def test_written_in_the_columns_of_the_challenge_with_a_card(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "seriesuid,coordX,coordY,coordZ,class,probability,source"
    assert lines[2] == "1.3,-5.0,0.0,7.0,0,0.5,candidates"
    card = json.loads(path.with_suffix(".json").read_text())
    assert card == {
        "format_version": 1,
        "run": "r1",
        "split_hash": "abc",
        "n_rows": 2,
        "table_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    assert sorted(p.name for p in path.parent.iterdir()) == ["mined.csv", "mined.json"]


def test_positions_come_back_with_the_same_bits(path: Path) -> None:
    table, card = read_negatives(path)
    centers = ["center_x_mm", "center_y_mm", "center_z_mm"]
    assert table[centers].to_numpy().tolist() == TABLE[centers].to_numpy().tolist()
    assert table["series_uid"].tolist() == ["1.2", "1.3"]
    assert card is not None
    assert card["run"] == "r1"


def test_any_table_of_negatives_will_do(path: Path) -> None:
    path.with_suffix(".json").unlink()
    path.write_text("class,seriesuid,coordX,coordY,coordZ\n0,1.2,1,2,3\n")
    table, card = read_negatives(path)
    assert card is None
    assert table.to_numpy().tolist() == [["1.2", 1, 2, 3]]


def test_refusals(path: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such table"):
        read_negatives(tmp_path / "none.csv")
    text = path.read_text()
    path.write_text(text.replace("-5.0", "-6.0"))
    with pytest.raises(TableError, match=r"changed since mined\.json was written"):
        read_negatives(path)
    path.write_text(text.replace("7.0,0,", "7.0,1,"))
    with pytest.raises(TableError, match="line 3: class is 1, allowed is 0"):
        read_negatives(path)
    path.write_text(text)
    card = path.with_suffix(".json")
    good = card.read_text()
    card.write_text(good.replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(TableError, match="format version 2, this lungdet reads 1"):
        read_negatives(path)
    for bad in ("{", "{}", "[]"):
        card.write_text(bad)
        with pytest.raises(TableError, match="not the card of a table"):
            read_negatives(path)
