from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.io.luna16_tables import (
    read_annotations,
    read_candidates,
    read_excluded,
    read_malignancy,
    read_marks,
    read_points,
    read_series,
    read_seriesuids,
)

POINT = ["series_uid", "center_x_mm", "center_y_mm", "center_z_mm"]


def write(folder: Path, text: str) -> Path:
    (folder / "t.csv").write_text(text)
    return folder / "t.csv"


def test_annotations(tmp_path: Path) -> None:
    table = read_annotations(write(tmp_path, "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,-1.5,2,3e1,5.65\n"))
    assert list(table.columns) == [*POINT, "diameter_mm"]
    assert table.iloc[0].tolist() == ["1.2", -1.5, 2.0, 30.0, 5.65]


def test_unknown_diameters_belong_to_the_excluded_findings(tmp_path: Path) -> None:
    path = write(tmp_path, "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.2,1,2,3,5\n1.2,1,2,3,-1\n1.2,1,2,3,-1\n")
    with pytest.raises(TableError, match=r"line 3: diameter_mm is -1.0, allowed is a finite number from 0\.1 to 500"):
        read_annotations(path)
    assert read_excluded(path)["diameter_mm"].tolist() == [5, -1, -1]


def test_candidates(tmp_path: Path) -> None:
    text = "seriesuid,coordX,coordY,coordZ,class\n1.2,1,2,3,0\n1.2,1,2,3,1\n1.1,1,2,3,0.0\n"
    table = read_candidates(write(tmp_path, text))
    assert list(table.columns) == ["candidate_id", *POINT, "is_nodule"]
    assert table["candidate_id"].tolist() == [0, 1, 2]
    assert table["is_nodule"].tolist() == [False, True, False]
    assert table["is_nodule"].dtype == bool
    assert table["candidate_id"].dtype == np.int64


@pytest.mark.parametrize("value", ["2", "-1", "0.5", "yes", ""])
def test_class_is_0_or_1(tmp_path: Path, value: str) -> None:
    path = write(tmp_path, f"seriesuid,coordX,coordY,coordZ,class\n1.2,1,2,3,{value}\n")
    with pytest.raises(TableError, match=r"line 2: class is .*, allowed is a whole number from 0 to 1"):
        read_candidates(path)


def test_marks_may_be_any_score(tmp_path: Path) -> None:
    text = "probability,seriesuid,coordX,coordY,coordZ\n-3.5,1.2,1,2,3\n17,1.2,1,2,3\n"
    table = read_marks(write(tmp_path, text))
    assert list(table.columns) == [*POINT, "probability"]
    assert table["probability"].tolist() == [-3.5, 17.0]
    with pytest.raises(TableError, match="line 2: probability is empty or NaN"):
        read_marks(write(tmp_path, "probability,seriesuid,coordX,coordY,coordZ\nnan,1.2,1,2,3\n"))


def test_points_of_any_table(tmp_path: Path) -> None:
    table = read_points(write(tmp_path, "coordZ,seriesuid,coordX,coordY,class\n3,1.2,1,2,maybe\n"))
    assert list(table.columns) == POINT
    assert table.iloc[0].tolist() == ["1.2", 1.0, 2.0, 3.0]


def test_series(tmp_path: Path) -> None:
    table = read_series(write(tmp_path, "seriesuid,subset,patient_id\n1.2,0,p\n1.3,-1,q\n"))
    assert table["subset"].tolist() == [0, -1]
    assert table["patient_id"].tolist() == ["p", "q"]
    with pytest.raises(TableError, match=r"line 4: series 1\.2 is listed before"):
        read_series(write(tmp_path, "seriesuid,subset,patient_id\n1.2,0,p\n1.3,1,q\n1.2,2,p\n"))
    with pytest.raises(TableError, match=r"line 2: subset is 10\.0, allowed is a whole number from -1 to 9"):
        read_series(write(tmp_path, "seriesuid,subset,patient_id\n1.2,10,p\n"))


HEAD = "seriesuid,coordX,coordY,coordZ,diameter_mm,mal_bool,mal_details,bboxLowX\n"


def test_malignancy(tmp_path: Path) -> None:
    text = HEAD + '1.2,1,2,3,4,True,"[4, 2, 4, 2]",0\n1.2,1,2,3,4,0,[3],0\n1.2,1,2,3,4,FALSE,[],0\n'
    table = read_malignancy(write(tmp_path, text))
    assert list(table.columns) == [*POINT, "diameter_mm", "is_malignant", "ratings"]
    assert table["ratings"].tolist() == [(4, 2, 4, 2), (3,), ()]
    assert table["is_malignant"].tolist() == [True, False, False]
    assert table["is_malignant"].dtype == bool


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.2,1,2,3,4,maybe,[3],0", "line 3: mal_bool is 'maybe', allowed is True or False"),
        ('1.2,1,2,3,4,True,"[4, 6]",0', r"line 3: mal_details is '\[4, 6\]', allowed is a list of ratings from 1 to 5"),
        ("1.2,1,2,3,4,True,4,0", "line 3: mal_details is '4'"),
        ("1.2,1,2,3,4,,[4],0", "line 3: mal_bool is ''"),
    ],
)
def test_malformed_ratings(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_malignancy(write(tmp_path, f"{HEAD}1.2,1,2,3,4,True,[4],0\n{row}\n"))


@pytest.mark.parametrize(
    "read", [read_annotations, read_excluded, read_candidates, read_marks, read_points], ids=lambda f: f.__name__
)
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.2,1,2,10001,1,1,1", "line 2: coordZ is 10001.0, allowed is a finite number from -10000 to 10000"),
        ("1.2,nan,2,3,1,1,1", "line 2: coordX is empty or NaN"),
        (",1,2,3,1,1,1", "line 2: seriesuid is ''"),
    ],
)
def test_points_are_checked_everywhere(
    tmp_path: Path, read: Callable[[Path], pd.DataFrame], line: str, message: str
) -> None:
    path = write(tmp_path, f"seriesuid,coordX,coordY,coordZ,diameter_mm,class,probability\n{line}\n")
    with pytest.raises(TableError, match=message):
        read(path)


@pytest.mark.parametrize("text", ["1.2\n007\n", "\ufeff1.2\r\n007\r\n", "seriesuid\n\n1.2\n 007 \n\n"])
def test_seriesuids(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8", newline="")
    assert read_seriesuids(tmp_path / "t.csv") == ("1.2", "007")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.2\n1.3\n1.2\n", r"t\.csv: line 3: series 1\.2 is listed before, on line 1"),
        ("1.2\n1.3,5\n", r"line 2: '1\.3,5', allowed is one series UID per line"),
        ("\n", "the list is empty"),
    ],
)
def test_malformed_seriesuids(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_seriesuids(write(tmp_path, text))


def test_no_seriesuids(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such table"):
        read_seriesuids(tmp_path / "t.csv")


@pytest.mark.realdata
def test_the_official_files(realdata: Path) -> None:
    """The numbers of the challenge."""
    root = realdata / "luna16"
    annotations = read_annotations(root / "annotations.csv")
    assert len(annotations) == 1186
    assert annotations["series_uid"].nunique() == 601
    assert annotations["diameter_mm"].median() == pytest.approx(6.43, abs=0.01)
    excluded = read_excluded(root / "annotations_excluded.csv")
    assert len(excluded) == 35192
    assert int((excluded["diameter_mm"] == -1).sum()) == 30513
    assert int(excluded.duplicated().sum()) == 11105
    assert int(excluded.duplicated(POINT).sum()) == 11106  # one finding is listed with two diameters
    series = read_series(root / "series.csv")
    assert series["patient_id"].nunique() == 887
    assert series["subset"].value_counts().sort_index().tolist() == [89] * 8 + [88] * 2
    assert set(read_seriesuids(root / "seriesuids.csv")) == set(series["series_uid"])
    malignancy = read_malignancy(root / "annotations_with_malignancy.csv")
    assert len(malignancy) == 1182
    assert int(malignancy["is_malignant"].sum()) == 378
    marks = read_marks(root / "detector_marks_one_scan.csv")
    assert len(marks) == 43
    assert marks["probability"].between(0, 1).all()
