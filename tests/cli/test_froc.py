"""`lungdet froc` from files to files: what it reads, what it refuses, what it says."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

from lungdet.cli import froc
from lungdet.evaluation.predictions import write_predictions

HEADER = "seriesuid,coordX,coordY,coordZ,"
ANNOTATIONS = HEADER + "diameter_mm\n0017,0,0,0,10\n18,5,5,5,6\n"
EXCLUDED = HEADER + "diameter_mm\n18,50,0,0,-1\n18,50,0,0,-1\n"
MARKS = HEADER + "probability\n0017,0,0,1,0.9\n18,50,1,0,0.8\n0017,80,0,0,0.7\n18,5,5,5,0.6\n"

Run = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the four files of a small challenge: 2 nodules in 3 series, 1 false positive."""
    monkeypatch.chdir(tmp_path)
    for name, text in (
        ("annotations.csv", ANNOTATIONS),
        ("excluded.csv", EXCLUDED),
        ("seriesuids.csv", "0017\n18\n19\n"),
        ("marks.csv", MARKS),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run the command with overrides; the usual files and 20 resamples unless overridden. Gives stdout and stderr."""

    def call(*overrides: str) -> str:
        usual = {
            "annotations": "annotations.csv",
            "excluded": "excluded.csv",
            "seriesuids": "seriesuids.csv",
            "submission": "marks.csv",
            "out": "result",
            "n_bootstraps": "20",
        }
        given = usual | dict(override.split("=", 1) for override in overrides)
        monkeypatch.setattr(sys, "argv", ["froc.py", *(f"{key}={value}" for key, value in given.items())])
        GlobalHydra.instance().clear()
        froc.main()
        return "".join(capfd.readouterr())

    yield call
    GlobalHydra.instance().clear()


@pytest.fixture
def refused(run: Run, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command, expecting one message on stderr and exit code 2."""

    def call(*overrides: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            run(*overrides)
        assert stopped.value.code == 2
        message = capfd.readouterr().err
        assert "Traceback" not in message
        return message

    return call


def record(folder: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((folder / "result" / "froc.json").read_text())
    return loaded


def test_from_files_to_files(folder: Path, run: Run) -> None:
    """0017: a hit at .9 and a false mark at .7. 18: one ignored mark, a hit at .6. 19: nothing.

    1 false positive in 3 scans: sensitivity 1/2 at 1/8 and 1/4, from 1/3 on 1: CPM (2 x 1/2 + 5) / 7 = 6/7.
    """
    said = run()
    assert "marks: CPM 0.8571 (95 % interval" in said
    assert "over all 3 listed series, 1 of them without a mark; sensitivity over 2 nodules" in said
    assert sorted(path.name for path in (folder / "result").iterdir()) == [
        "CADAnalysis.txt",
        "froc.html",
        "froc.json",
        "froc_marks.png",
        "froc_marks.txt",
        "froc_marks_bootstrapping.csv",
        "nodulesWithoutCandidate_marks.txt",
    ]
    found = record(folder)
    assert found["cpm"] == pytest.approx(6 / 7)
    assert found["provenance"]["submission"] == {  # type: ignore[index]
        "file": "marks.csv",
        "sha256": hashlib.sha256(MARKS.encode()).hexdigest(),
    }
    assert sorted(path.name for path in folder.iterdir()) == [
        "annotations.csv",
        "excluded.csv",
        "marks.csv",
        "result",
        "seriesuids.csv",
    ]


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(MARKS.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(b"\xef\xbb\xbf" + MARKS.encode(), id="byte order mark"),
        pytest.param(MARKS.replace(",", "\t").encode(), id="tabs"),
        pytest.param(b"\xef\xbb\xbf" + MARKS.replace(",", "\t").replace("\n", "\r\n").encode(), id="all three"),
        pytest.param(MARKS.rstrip("\n").encode() + b"\n\n", id="blank line at the end"),
        pytest.param(
            b"probability,note,coordZ,coordY,coordX,seriesuid\n0.9,,1,0,0,0017\n0.8,,0,1,50,18\n0.7,,0,0,80,0017\n0.6,,5,5,5,18\n",
            id="columns in another order",
        ),
    ],
)
def test_files_as_people_have_them(folder: Path, run: Run, written: bytes) -> None:
    (folder / "marks.csv").write_bytes(written)
    run("n_bootstraps=0")
    counts = record(folder)["counts"]
    assert isinstance(counts, dict)
    assert (counts["true_positives"], counts["false_positives"], counts["ignored_excluded"]) == (2, 1, 1)


def test_zero_padded_series_are_text(folder: Path, refused: Run) -> None:
    """Series 17 is not series 0017: refused as foreign, not quietly matched."""
    (folder / "marks.csv").write_text(MARKS.replace("0017", "17"))
    message = refused()
    assert "submission: marks in 1 series that seriesuids does not list (17), beside 1 that it lists" in message
    assert "allow_foreign_series=true" in message
    assert not (folder / "result").exists()


def test_foreign_series_are_ignored_when_told(folder: Path, run: Run) -> None:
    (folder / "marks.csv").write_text(MARKS + "".join(f"other{i},0,0,0,0.99\n" for i in range(7)))
    said = run("allow_foreign_series=true")
    assert "marks in 7 series that seriesuids does not list (other0, other1, other2, other3, other4, ...)" in said
    found = record(folder)
    assert found["cpm"] == pytest.approx(6 / 7)
    assert found["counts"]["marks_foreign"] == 7  # type: ignore[index]


def test_nan_probabilities_are_named_by_line(folder: Path, refused: Run) -> None:
    (folder / "marks.csv").write_text(MARKS.replace("0.7", "nan"))
    message = refused()
    assert "marks.csv: line 4: probability" in message


def test_missing_files_come_together_with_where_they_come_from(refused: Run) -> None:
    message = refused("submission=absent.csv", "seriesuids=none.csv")
    assert (
        "submission: absent.csv: no such file or run; a CSV with seriesuid,coordX,coordY,coordZ,probability" in message
    )
    assert "seriesuids: none.csv: no such file; it comes with the challenge's evaluation script" in message


def test_a_run_is_scored_by_its_test_candidates(folder: Path, run: Run) -> None:
    """The marks of the file as the test rows of a run: the same CPM; what validated does not count."""
    marks = pd.read_csv(folder / "marks.csv", dtype={"seriesuid": str})
    table = pd.DataFrame(
        {
            "series_uid": marks["seriesuid"],
            "patient_id": marks["seriesuid"],
            "candidate_id": range(len(marks)),
            "center_x_mm": marks["coordX"].astype(float),
            "center_y_mm": marks["coordY"].astype(float),
            "center_z_mm": marks["coordZ"].astype(float),
            "label": [1, 0, 0, 1],
            "diameter_mm": [10.0, np.nan, np.nan, 6.0],
            "logit": np.log(marks["probability"] / (1 - marks["probability"])).astype(np.float32),
            "fold": 0,
            "partition": "test",
        }
    )
    (folder / "mine").mkdir()
    validated = table.assign(series_uid="19", patient_id="19", logit=np.float32(9), partition="val")
    write_predictions(pd.concat([table, validated]), folder / "mine" / "predictions.parquet")
    said = run("submission=mine")
    assert "mine: CPM 0.8571" in said
    assert record(folder)["provenance"]["submission"]["file"] == "mine"  # type: ignore[index]


def test_wrong_and_missing_values_come_together(folder: Path, refused: Run) -> None:
    assert "annotations: no value; set annotations=..." in refused("annotations='???'")
    message = refused("n_bootstraps=many", "seed=0.5")
    assert "n_bootstraps" in message
    assert "seed" in message
    assert "max_marks: 0; give a positive number" in refused("max_marks=0")


def test_a_misspelt_key_gets_the_near_word(refused: Run) -> None:
    assert "did you mean 'submission'?" in refused("submision=marks.csv")


def test_nothing_excluded_and_no_cap(folder: Path, run: Run) -> None:
    """Without the excluded place its mark is a second false positive."""
    run("excluded=null", "max_marks=null", "n_bootstraps=0", "name=bare")
    found = record(folder)
    assert found["name"] == "bare"
    assert found["counts"]["false_positives"] == 2  # type: ignore[index]
    assert "excluded" not in found["provenance"]  # type: ignore[operator]


def test_diameters_of_zero_and_minus_one_are_the_rules_business(folder: Path, run: Run) -> None:
    """The included nodule with diameter 0 cannot be hit, the one with -1 has a radius of 5 mm."""
    (folder / "annotations.csv").write_text(HEADER + "diameter_mm\n0017,0,0,0,0\n18,5,5,5,-1\n")
    run("n_bootstraps=0")
    counts = record(folder)["counts"]
    assert isinstance(counts, dict)
    assert (counts["true_positives"], counts["false_negatives"]) == (1, 1)


def test_two_submissions(folder: Path, run: Run) -> None:
    (folder / "other.csv").write_text("\n".join(MARKS.splitlines()[:2]) + "\n")
    said = run("submission_b=other.csv")
    assert "CPM of other minus CPM of marks: -0.3571" in said
    compared = record(folder)["compared_with"]
    assert isinstance(compared, dict)
    assert compared["name"] == "other"
    assert (folder / "result" / "other" / "froc.json").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["submission_b=marks.csv"], "both submissions are called 'marks'; tell them apart"),
        (["submission_b=marks.csv", "name_b=b", "n_bootstraps=0"], "comparing two submissions takes resamples"),
        (["name_b=b"], "there is no second submission; add submission_b=..."),
        (["name=a/b"], "'a/b' is part of file names"),
    ],
)
def test_comparisons_that_cannot_be_made(refused: Run, overrides: list[str], message: str) -> None:
    assert message in refused(*overrides)


@pytest.mark.realdata
def test_the_real_detector_marks(realdata: Path, folder: Path, run: Run) -> None:
    """43 marks on one scan with two nodules, scored over that scan alone; over all 888 series both are 1/888 of it."""
    real = realdata / "luna16"
    marks = real / "detector_marks_one_scan.csv"
    (folder / "one.csv").write_text(marks.read_text().splitlines()[1].split(",")[0] + "\n")
    tables = (f"annotations={real / 'annotations.csv'}", f"excluded={real / 'annotations_excluded.csv'}")
    run(*tables, "seriesuids=one.csv", f"submission={marks}")
    found = record(folder)
    assert found["name"] == "detector_marks_one_scan"
    assert found["counts"]["candidates"] == 43  # type: ignore[index]
    assert found["counts"]["nodules"] == 2  # type: ignore[index]
    run(*tables, f"seriesuids={real / 'seriesuids.csv'}", f"submission={marks}")
    assert record(folder)["counts"]["nodules"] == 1186  # type: ignore[index]
