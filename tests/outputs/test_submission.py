"""The challenge's format, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.outputs.detection_examples import detections_of, scan_of, unjudged

from lungdet.errors import TableError
from lungdet.io.luna16_tables import read_marks
from lungdet.outputs.submission import write_submission
from lungdet.pipeline.detections import detection_table


def random_table(uid: str, n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return detection_table(uid, rng.uniform(-300, 300, (n, 3)), {"logit": rng.normal(0, 9, n)})


def test_a_line_by_hand(tmp_path: Path) -> None:
    table = detection_table("1.2", np.array([[-1.5, 0.1, 1e-7]]), {"logit": [0.0], "probability": [0.25]})
    path = write_submission([table], tmp_path / "new" / "detections.csv")
    assert path.read_bytes() == b"seriesuid,coordX,coordY,coordZ,probability\n1.2,-1.5,0.1,1e-07,0.25\n"


def test_reads_back_to_the_last_bit(tmp_path: Path) -> None:
    tables = [random_table("1.2.3", 400, 1), random_table("0012", 300, 2)]
    back = read_marks(write_submission(tables, tmp_path / "s.csv"))
    expected = pd.concat(tables)
    assert back["series_uid"].tolist() == ["1.2.3"] * 400 + ["0012"] * 300
    for axis in "xyz":
        np.testing.assert_array_equal(back[f"center_{axis}_mm"], expected[f"center_{axis}_mm"])
    np.testing.assert_array_equal(back["probability"].astype(np.float32), expected["probability"])
    # Nothing is rounded on the way: the double that is read is the double of the fp32 value.
    np.testing.assert_array_equal(back["probability"], expected["probability"].astype(np.float64))
    assert back["probability"].nunique() == expected["probability"].nunique() > 600


@pytest.mark.parametrize("tables", [[], [unjudged().table]])
def test_nothing_found_is_a_header(tables: list[pd.DataFrame], tmp_path: Path) -> None:
    path = write_submission(tables, tmp_path / "s.csv")
    assert path.read_text() == "seriesuid,coordX,coordY,coordZ,probability\n"
    assert len(read_marks(path)) == 0


def test_a_scan_given_twice_is_refused(tmp_path: Path) -> None:
    table = detections_of(scan_of()).table
    with pytest.raises(TableError, match="comes in two tables"):
        write_submission([table, table], tmp_path / "s.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("column", ["probability", "center_y_mm"])
def test_what_the_challenge_could_not_read_is_refused(column: str, tmp_path: Path) -> None:
    table = random_table("1.2.3", 3, 1)
    table.loc[1, column] = np.nan
    with pytest.raises(TableError, match=rf"series 1\.2\.3: detection .*'{column}': nan.* not a finite number"):
        write_submission([table], tmp_path / "s.csv")
