"""The files of a FROC evaluation: the official ones character by character, froc.json, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.froc_report import Rival, froc_record, write_froc
from lungdet.metrics.froc import FrocResult, compare_froc, evaluate_froc

Point = tuple[str, float, float, float, float]
NODULES: list[Point] = [("a", 1.5, -2, 3, 8), ("b", 103.7836509, 0, 0, 4.224708481), ("b", 0, 0, 0, 31)]
EXCLUDED: list[Point] = [("a", 50, 0, 0, -1)]
MARKS: list[Point] = [
    ("a", 1.5, -2, 3, 0.9),
    ("a", 2, -2, 3, 0.25),
    ("a", 50, 0, 0, 0.8),
    ("c", 0, 0, 0, 0.5),
    ("b", 0, 0, 1, 0.125),
    ("x", 0, 0, 0, 0.5),
]


def frame(points: list[Point], last: str) -> pd.DataFrame:
    columns = ["series_uid", "center_x_mm", "center_y_mm", "center_z_mm", last]
    return pd.DataFrame(points, columns=columns).astype({"series_uid": str} | dict.fromkeys(columns[1:], np.float64))


def evaluate(marks: list[Point] | None = None, nodules: list[Point] | None = None, **options: Any) -> FrocResult:
    return evaluate_froc(
        frame(NODULES if nodules is None else nodules, "diameter_mm"),
        frame(EXCLUDED, "diameter_mm"),
        ["a", "b", "c", "d"],
        frame(MARKS if marks is None else marks, "probability"),
        **({"n_bootstraps": 30, "seed": 7} | options),
    )


def test_analysis_as_the_official_script_writes_it(tmp_path: Path) -> None:
    """a: nodule hit by two marks (1 double), one mark ignored. b: one of two hit. c: one false. d: nothing. x: foreign.

    5 candidates in 4 scans are 1.25; 2 of 3 nodules.
    """
    written = write_froc(evaluate(), tmp_path, name="mine")
    stars = "*" * 60
    assert written.analysis.name == "CADAnalysis.txt"
    assert written.analysis.read_text() == (
        f"\n{stars}\nCAD Analysis: mine\n{stars}\n\n"
        "Candidate detection results:\n"
        "    True positives: 2\n"
        "    False positives: 1\n"
        "    False negatives: 1\n"
        "    True negatives: 0\n"
        "    Total number of candidates: 5\n"
        "    Total number of nodules: 3\n"
        "    Ignored candidates on excluded nodules: 1\n"
        "    Ignored candidates which were double detections on a nodule: 1\n"
        "    Sensitivity: 0.666666667\n"
        "    Average number of candidates per scan: 1.250000000\n"
    )


def test_curve_and_missed_nodules_as_the_official_script_writes_them(tmp_path: Path) -> None:
    """.9 hit, .5 false, .125 hit; 4 scans, 3 nodules. One nodule is missed: no id, no mark."""
    written = write_froc(evaluate(), tmp_path, name="mine")
    assert written.curve.name == "froc_mine.txt"
    assert written.curve.read_bytes().decode() == (
        "0.000000000,0.000000000,inf\n"
        "0.000000000,0.333333333,0.900000000\n"
        "0.250000000,0.333333333,0.500000000\n"
        "0.250000000,0.666666667,0.125000000\n"
    )
    assert written.missed.name == "nodulesWithoutCandidate_mine.txt"
    assert written.missed.read_text() == "b,None,103.7836509,0.0,0.0,4.224708481,-1\n"


def test_bootstrapping_csv(tmp_path: Path) -> None:
    result = evaluate()
    path = write_froc(result, tmp_path, name="mine").bootstrapping
    assert path is not None
    assert path.name == "froc_mine_bootstrapping.csv"
    lines = path.read_text().splitlines()
    assert lines[0] == "FPrate,Sensivity[Mean],Sensivity[Lower bound],Sensivity[Upper bound]"
    assert len(lines) == 10001
    assert [line.split(",")[0] for line in (lines[1], lines[-1])] == ["0.125000000", "8.000000000"]
    assert result.bootstrap is not None
    table = np.array([[float(field) for field in line.split(",")] for line in lines[1:]])
    np.testing.assert_allclose(table[:, 1], result.bootstrap.mean, atol=5e-10)
    np.testing.assert_allclose(table[:, 2], result.bootstrap.lower, atol=5e-10)
    np.testing.assert_allclose(table[:, 3], result.bootstrap.upper, atol=5e-10)


def test_json_holds_the_numbers_of_the_result(tmp_path: Path) -> None:
    result = evaluate()
    written = write_froc(result, tmp_path, name="mine", provenance={"lungdet": "0", "submission": {"file": "s.csv"}})
    record = json.loads(written.json.read_text())
    assert record["cpm"] == pytest.approx(result.cpm, abs=1e-12)
    assert list(record["sensitivity_at"]) == ["0.125", "0.25", "0.5", "1", "2", "4", "8"]
    assert record["sensitivity_at"]["0.125"] == pytest.approx(1 / 3)
    assert record["sensitivity_at"]["8"] == pytest.approx(2 / 3)
    assert record["denominator"] == {
        "n_series": 4,
        "n_series_without_marks": 1,
        "n_nodules": 3,
        "statement": "false positives per scan over all 4 listed series, 1 of them without a mark; "
        "sensitivity over 3 nodules",
    }
    assert record["counts"]["true_positives"] == 2
    assert record["counts"]["marks_foreign"] == 1
    assert record["counts"]["candidates_per_scan"] == 1.25
    assert (record["seed"], record["max_marks"]) == (7, 100)
    assert record["compared_with"] is None
    assert record["provenance"]["submission"] == {"file": "s.csv"}
    bootstrap = record["bootstrap"]
    assert result.bootstrap is not None
    samples = result.bootstrap.cpm_samples()
    defined = np.sort(samples[~np.isnan(samples)])
    assert bootstrap["n_undefined"] == 30 - len(defined)
    assert bootstrap["cpm"]["mean"] == pytest.approx(defined.mean(), abs=1e-12)
    assert bootstrap["cpm"]["low"] == pytest.approx(defined[int(0.025 * len(defined))], abs=1e-12)
    assert bootstrap["cpm"]["high"] == pytest.approx(defined[int(0.975 * len(defined))], abs=1e-12)
    assert bootstrap["sensitivity_at"]["8"]["high"] <= 1
    sizes = {row["name"]: row for row in record["by_diameter"]}
    assert (sizes[">= 30 mm"]["n_nodules"], sizes[">= 30 mm"]["n_detected"]) == (1, 1)
    assert sizes["20-30 mm"]["cpm"] is None


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_froc(evaluate(), tmp_path / folder, name="mine")
    one = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert one == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert len(one) == 7


def test_without_resamples_there_is_no_bootstrapping_file(tmp_path: Path) -> None:
    written = write_froc(evaluate(n_bootstraps=0, max_marks=None), tmp_path, name="mine")
    assert written.bootstrapping is None
    assert not list(tmp_path.glob("*bootstrapping*"))
    record = json.loads(written.json.read_text())
    assert record["bootstrap"] is None
    assert record["seed"] is None
    assert record["by_diameter"][0]["cpm_interval"] == {"mean": None, "low": None, "high": None}
    assert "no interval" in written.html.read_text()
    assert "left out by the cap: there is none" in written.html.read_text()


def test_without_nodules_there_is_no_picture_and_no_number(tmp_path: Path) -> None:
    written = write_froc(evaluate(nodules=[]), tmp_path, name="mine")
    assert written.png is None
    assert "    Sensitivity: 0.0\n" in written.analysis.read_text()
    record = json.loads(written.json.read_text())
    assert record["cpm"] is None
    assert record["counts"]["sensitivity"] is None
    assert record["bootstrap"]["cpm"]["mean"] is None
    assert "no sensitivity to report" in written.html.read_text()


def test_a_rival_has_its_own_folder_and_a_place_in_the_record(tmp_path: Path) -> None:
    first, second = evaluate(), evaluate(marks=MARKS[:1])
    rival = Rival("other", second, compare_froc(first, second))
    written = write_froc(first, tmp_path, name="mine", rival=rival)
    compared = json.loads(written.json.read_text())["compared_with"]
    assert compared["name"] == "other"
    assert compared["difference"] == pytest.approx(second.cpm - first.cpm, abs=1e-12)
    assert compared["low"] <= compared["difference"] <= compared["high"]
    assert json.loads((tmp_path / "other" / "froc.json").read_text())["cpm"] == pytest.approx(second.cpm)
    assert "Against other" in written.html.read_text()
    assert froc_record(first, name="mine", rival=rival)["compared_with"] == compared
