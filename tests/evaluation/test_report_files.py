"""The three files, byte by byte the same for the same content."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from lungdet.evaluation.report_files import write_report_files

CURVES = pd.DataFrame({"x": [0.0, 0.5], "model": ["m", "m"]}, index=[7, 9])


def test_three_files_in_a_new_folder(tmp_path: Path) -> None:
    written = write_report_files(tmp_path / "a" / "b", record={"z": 1, "a": "é"}, curves=CURVES, page="<p>é</p>")
    assert written.json.read_bytes() == '{\n  "a": "é",\n  "z": 1\n}\n'.encode()
    assert written.html.read_bytes() == "<p>é</p>".encode()
    pd.testing.assert_frame_equal(pd.read_parquet(written.curves), CURVES.reset_index(drop=True))
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [
        "curves.parquet",
        "report.html",
        "report.json",
    ]


def test_an_earlier_report_is_replaced_and_order_does_not_matter(tmp_path: Path) -> None:
    first = write_report_files(tmp_path / "1", record={"z": 1, "a": 2}, curves=CURVES, page="p")
    write_report_files(tmp_path / "2", record={"old": 1}, curves=CURVES[:1], page="much longer than p")
    again = write_report_files(tmp_path / "2", record={"a": 2, "z": 1}, curves=CURVES, page="p")
    for name in ("json", "html", "curves"):
        assert getattr(first, name).read_bytes() == getattr(again, name).read_bytes()


def test_what_json_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_report_files(tmp_path, record={"a": math.nan}, curves=CURVES, page="p")
