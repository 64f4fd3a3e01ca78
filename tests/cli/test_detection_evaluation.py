"""The evaluation of a detection run against `lungdet froc` on its own files, and where ratings come from."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra
from tests.cli.chests import BALL, SHARP, chest, write_scan

from lungdet.cli import eval as eval_command
from lungdet.cli import froc as froc_command
from lungdet.cli.detection_evaluation import evaluate_again, read_truth
from lungdet.errors import RunError, TableError

Command = Callable[..., None]

HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm"
RATED = HEADER + ",mal_bool,mal_details"
SECOND = (-8.0, 6.0, -40.0, 12.0)


def row(uid: str, ball: tuple[float, ...], more: str = "") -> str:
    z, y, x, diameter = ball
    return f"{uid},{x},{y},{z},{diameter}{more}\n"


def run_other(module: object, name: str, *arguments: str) -> None:
    GlobalHydra.instance().clear()
    before = sys.argv
    sys.argv = [f"{name}.py", *arguments]
    try:
        module.main()  # type: ignore[attr-defined]
    finally:
        sys.argv = before
        GlobalHydra.instance().clear()


@pytest.fixture
def cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four scans: one nodule, two nodules of which one is excluded, clear lungs, no lungs but a nodule on paper."""
    monkeypatch.chdir(tmp_path)
    for k, (uid, balls) in enumerate({"one": (BALL,), "two": (BALL, SECOND), "clear": ()}.items()):
        write_scan(chest(*balls, seed=k), tmp_path / "scans" / f"{uid}.mhd")
    write_scan(chest(lungs=False), tmp_path / "scans" / "solid.mhd")
    nodules = row("one", BALL) + row("two", BALL) + row("solid", BALL) + row("elsewhere", BALL)
    (tmp_path / "annotations.csv").write_text(HEADER + "\n" + nodules)
    (tmp_path / "excluded.csv").write_text(HEADER + "\n" + row("two", SECOND))
    return tmp_path


def test_the_numbers_are_those_of_lungdet_froc(cohort: Path, detecting: Command) -> None:
    """Three nodules in four scans, two found, nothing false: sensitivity 2/3 at every rate."""
    # Blobs of little contrast: more than 100 in a scan, so that the cap of marks matters too.
    detecting(
        "input=scans", "out=found", "annotations=annotations.csv", "excluded=excluded.csv", "n_bootstraps=50", "seed=3",
        "n_shown=0", "+pipeline.blobs.spacing_zyx_mm=[2.5,2.5,2.5]", "pipeline.blobs.minimum_contrast_hu=20",
        "pipeline.recipe.suppression_mm=0",
    )  # fmt: skip
    assert pd.read_parquet("found/detections.parquet").groupby("series_uid").size().max() > 100
    own = {path.name: path.read_bytes() for path in (cohort / "found" / "froc").iterdir()}
    run_other(
        froc_command, "froc", "annotations=annotations.csv", "excluded=excluded.csv",
        "seriesuids=found/seriesuids.csv", "submission=found/detections.csv", "out=again", "n_bootstraps=50", "seed=3",
    )  # fmt: skip
    again = {path.name: path.read_bytes() for path in (cohort / "again").iterdir()}
    assert own.keys() == again.keys()
    for name in own.keys() - {"froc.json", "froc.html"}:
        assert own[name] == again[name], name
    records = [json.loads(files["froc.json"]) for files in (own, again)]
    for record in records:
        assert record.pop("provenance")["annotations"]["file"] == "annotations.csv"
    assert records[0] == records[1]
    assert records[0]["denominator"]["n_series"] == 4
    assert records[0]["denominator"]["n_nodules"] == 3


def test_by_hand_and_evaluated_again(cohort: Path, detecting: Command) -> None:
    """Two of three nodules found, no false mark (the excluded ball is ignored): CPM 2/3.

    Scans with a nodule: one and two, found; solid, not judged; clear has none. AUROC of the two against one: 1.
    """
    detecting(
        "input=scans", "out=found", "annotations=annotations.csv", "excluded=excluded.csv", "n_bootstraps=20", *SHARP
    )
    found = cohort / "found"
    record = json.loads((found / "froc" / "froc.json").read_text())
    assert record["cpm"] == pytest.approx(2 / 3)
    answers = json.loads((found / "patients.json").read_text())
    assert list(answers) == ["nodule"]
    assert {key: answers["nodule"][key] for key in ("auroc", "n_scans", "n_positive", "n_unjudged")} == {
        "auroc": 1.0, "n_scans": 3, "n_positive": 2, "n_unjudged": 1,
    }  # fmt: skip
    assert "froc/froc.html" in (found / "index.html").read_text()
    assert "0.667" in (found / "index.html").read_text()
    before = {path: path.read_bytes() for path in found.rglob("*") if path.is_file()}
    (found / "froc" / "froc.json").unlink()
    for run in ("found", str(found)):
        run_other(eval_command, "eval", f"run={run}", f"paths.root={cohort}")
        assert {path: path.read_bytes() for path in found.rglob("*") if path.is_file()} == before


def test_annotations_may_come_later(cohort: Path, detecting: Command, refused: Callable[..., str]) -> None:
    detecting("input=scans", "out=found", *SHARP)
    with pytest.raises(SystemExit, match="2"):
        run_other(eval_command, "eval", "run=found", f"paths.root={cohort}")
    with pytest.raises(RunError, match="was never compared with annotations; type lungdet detect"):
        evaluate_again(cohort / "found")
    records = {path: path.stat().st_mtime_ns for path in (cohort / "found").glob("*/detections.json")}
    detecting("input=scans", "out=found", "annotations=annotations.csv", "n_bootstraps=0", *SHARP)
    assert records == {path: path.stat().st_mtime_ns for path in (cohort / "found").glob("*/detections.json")}
    assert json.loads((cohort / "found" / "froc" / "froc.json").read_text())["bootstrap"] is None
    (cohort / "found" / "patients.csv").unlink()
    with pytest.raises(RunError, match=r"no finished detection run: it has no patients\.csv"):
        evaluate_again(cohort / "found")


def test_ratings_lie_in_the_file_or_beside_it(cohort: Path) -> None:
    """The nodule of "two" is rated elsewhere in its scan only, so it has no rating; that of "one" is 0.2 mm off."""
    plain = read_truth(cohort / "annotations.csv", None)
    assert "is_malignant" not in plain.nodules
    moved = (BALL[0], BALL[1] + 0.2, *BALL[2:])
    rated = (
        row("one", moved, ',True,"[5, 4]"') + row("two", SECOND, ',False,"[1]"') + row("solid", BALL, ',False,"[2]"')
    )
    (cohort / "annotations_with_malignancy.csv").write_text(RATED + "\n" + rated)
    truth = read_truth(cohort / "annotations.csv", cohort / "excluded.csv")
    assert truth.nodules["is_malignant"].tolist() == [True, None, False, None]
    assert truth.nodules.drop(columns="is_malignant").equals(plain.nodules)
    assert truth.of_scan("one")["is_malignant"].tolist() == [True]
    assert "is_malignant" not in truth.of_scan("two"), "a report judges malignancy where every nodule is rated"
    assert len(truth.of_scan("clear")) == 0
    own = read_truth(cohort / "annotations_with_malignancy.csv", None)
    assert own.nodules["is_malignant"].tolist() == [True, False, False]


def test_malignancy_is_answered_where_it_is_known(cohort: Path, detecting: Command) -> None:
    (cohort / "annotations_with_malignancy.csv").write_text(RATED + "\n" + row("one", BALL, ',True,"[5, 4]"'))
    detecting("input=scans", "out=found", "annotations=annotations.csv", "n_bootstraps=0", *SHARP)
    answers = json.loads((cohort / "found" / "patients.json").read_text())
    assert answers["nodule"]["n_positive"] == 2, "truth of the first question are the annotations, rated or not"
    assert answers["malignancy"]["n_unjudged"] == 4, "no network was asked"
    assert answers["malignancy"]["auroc"] is None


def test_a_diameter_nobody_knows_is_ten_millimetres_in_reports(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER + "\na,0,0,0,-1\na,0,0,0,7\n")
    assert read_truth(tmp_path / "a.csv", None).of_scan("a")["diameter_mm"].tolist() == [10, 7]
    (tmp_path / "a.csv").write_text(HEADER + "\na,0,0,0,wide\n")
    with pytest.raises(TableError, match="line 2"):
        read_truth(tmp_path / "a.csv", None)


@pytest.mark.realdata
def test_ratings_of_the_real_files(realdata: Path) -> None:
    """1,182 nodules are rated, four of the challenge's 1,186 are not."""
    nodules = read_truth(realdata / "luna16" / "annotations.csv", None).nodules
    assert len(nodules) == 1186
    assert nodules["is_malignant"].isna().sum() == 4
    rated = pd.read_csv(realdata / "luna16" / "annotations_with_malignancy.csv")
    assert nodules["is_malignant"].sum() == rated["mal_bool"].sum()
    assert np.isfinite(nodules["diameter_mm"]).all()
