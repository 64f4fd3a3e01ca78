"""Any table keyed by patient or series: kinds found out, missing values by their many names, wrong lines named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungdet.errors import MissingFileError, TableError
from lungdet.io.clinical import read_clinical

PATIENTS = """patient_id,age_years,sex,smoking_status
P1,61.5,male,never
P2,,female,former
P3,48,NA,current
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clinical.csv"
    path.write_text(PATIENTS)
    return path


def test_numbers_categories_and_missing_values(file: Path) -> None:
    rows = read_clinical(file)
    assert rows.key == "patient_id"
    assert rows.columns == ("age_years", "sex", "smoking_status")
    assert [rows.is_number(name) for name in rows.columns] == [True, False, False]
    assert rows.values.index.tolist() == ["P1", "P2", "P3"]
    np.testing.assert_array_equal(rows.values["age_years"], [61.5, np.nan, 48.0])
    assert rows.values["sex"].tolist() == ["male", "female", None]


@pytest.mark.parametrize("word", ["", "NA", "n/a", "NaN", "null", "Unknown", "?", "."])
def test_every_word_for_missing(file: Path, word: str) -> None:
    file.write_text(f"patient_id,age,sex\nP1,{word},male\nP2,50,{word}\n")
    values = read_clinical(file).values
    np.testing.assert_array_equal(values["age"], [np.nan, 50])
    assert values["sex"].tolist() == ["male", None]


def test_none_is_an_answer(file: Path) -> None:
    file.write_text("patient_id,emphysema\nP1,none\nP2,severe\n")
    assert read_clinical(file).values["emphysema"].tolist() == ["none", "severe"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_spreadsheets_of_all_countries(file: Path, delimiter: str, newline: str) -> None:
    text = f"\ufeff{PATIENTS}\n".replace(",", delimiter).replace("\n", newline)
    file.write_bytes(text.encode())
    np.testing.assert_array_equal(read_clinical(file).values["age_years"], [61.5, np.nan, 48.0])


def test_quoted_fields_may_hold_the_delimiter(file: Path) -> None:
    file.write_text('patient_id,smoking\nP1,"former, until 1999"\nP2,never\n')
    assert read_clinical(file).values["smoking"].tolist() == ["former, until 1999", "never"]


def test_series_before_patients_unless_told_otherwise(file: Path) -> None:
    file.write_text("patient_id,seriesuid,dose\nP1,1.2.3,4\nP1,1.2.4,4\n")
    rows = read_clinical(file)
    assert (rows.key, rows.columns, rows.values.index.tolist()) == ("series_uid", ("dose",), ["1.2.3", "1.2.4"])
    with pytest.raises(TableError, match=r"line 3: P1 has another row on line 2; keep one line for each"):
        read_clinical(file, key="patient_id")


def test_a_row_that_is_repeated_word_by_word_counts_once(file: Path) -> None:
    file.write_text(PATIENTS + "P1,61.5,male,never\n")
    assert len(read_clinical(file).values) == 3


def test_chosen_columns_and_codes(file: Path) -> None:
    file.write_text("patient_id,note,smoking\nP1,a,1\nP2,b,2\n")
    rows = read_clinical(file, columns=["smoking"], categorical=["smoking"])
    assert rows.columns == ("smoking",)
    assert rows.values["smoking"].tolist() == ["1", "2"]


def many(last: str) -> str:
    return "patient_id,age\n" + "".join(f"P{n},{40 + n}\n" for n in range(11)) + f"P11,{last}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the table is empty"),
        ("patient_id,age\n", "no row below the column names"),
        ("name,age\nA,1\n", r"no column series_uid or patient_id that says whose a row is; it has name, age"),
        ("patient_id\nP1\n", "no column but the key"),
        ("patient_id,age,age\nP1,1,2\n", "column age occurs more than once"),
        ("patient_id,age\nP1,1\n\nP2,1,2\n", r"line 4: 3 fields, expected 2 \(patient_id, age\)"),
        ("patient_id,age\nP1,1\n,2\n", "line 3: the key is empty"),
        ("patient_id,age\nP1,1\nP1,2\n", "line 3: P1 has another row on line 2"),
        ("patient_id,age\nP1,1\nP2,inf\n", "line 3: age is 'inf', allowed is finite"),
        ("patient_id,age\nP1,NA\nP2,\n", "age has no value in any row; leave it out of data.clinical.features"),
        (many("5o"), "line 13: age is '5o', a number in 11 other rows; correct it"),
        ("patient_id,note\n" + "".join(f"P{n},text {n}\n" for n in range(21)), "note has 21 different texts"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(TableError, match=said):
        read_clinical(file)


def test_what_is_asked_for_and_not_there(file: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no such clinical table; give data\.clinical\.path=\.\.\."):
        read_clinical(tmp_path / "none.csv")
    with pytest.raises(TableError, match="no feature weight; it has age_years, sex, smoking_status"):
        read_clinical(file, columns=["age_years", "weight"])
    with pytest.raises(TableError, match=r"no column series_uid .* data\.clinical\.key may be null, patient_id or"):
        read_clinical(file, key="series_uid")
    with pytest.raises(TableError, match=r"data\.clinical\.categorical names weight; read are age_years"):
        read_clinical(file, categorical=["weight"])
