"""Whose folder it is, what counts as done, and what may be thrown away."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tests.cli.chests import BALL, chest

from lungdet.cli.scan_results import ResultFolder
from lungdet.errors import StoreError
from lungdet.io.scan import Scan
from lungdet.pipeline.blobs import BlobSource
from lungdet.pipeline.detect import detect
from lungdet.pipeline.recipe import Recipe

RECIPE = Recipe(source=BlobSource(minimum_contrast_hu=450, minimum_roundness=0.6))


def results(folder: Path, *, single: str | None = None, **settings: object) -> ResultFolder:
    made = ResultFolder(folder, settings={"pipeline": "default", **settings}, single=single)
    made.claim(overwrite=bool(settings.pop("overwrite", False)))
    return made


def write(folder: ResultFolder, scan: Scan) -> None:
    found = detect(scan, RECIPE)
    folder.write(scan, found, others={}, annotations=None, series=None, n_shown=0, dicom_probability=0.5)


def test_a_scan_is_done_when_its_record_is_written(tmp_path: Path) -> None:
    folder = results(tmp_path / "out")
    assert not folder.has("chest")
    write(folder, chest(BALL))
    assert folder.has("chest")
    assert not folder.has("other")
    record = folder.folder("chest") / "detections.json"
    record.write_text(record.read_text()[:-40])
    assert not folder.has("chest"), "half a record is none"


def test_tables_of_scans_with_and_without_candidates(tmp_path: Path) -> None:
    folder = results(tmp_path / "out")
    for uid, lungs, balls in (("a", False, ()), ("b", True, (BALL,)), ("c", True, ())):
        write(folder, chest(*balls, lungs=lungs, uid=uid))
    folder.write_tables(["a", "b", "c"], {"d": "broken"})
    table = pd.read_parquet(folder.path / "detections.parquet")
    own = [pd.read_parquet(folder.folder(uid) / "detections.parquet") for uid in "abc"]
    assert [len(rows) for rows in own] == [0, 1, 0]
    pd.testing.assert_frame_equal(table, own[1])
    assert (folder.path / "detections.csv").read_bytes() == (folder.folder("b") / "detections.csv").read_bytes()
    patients = pd.read_csv(folder.path / "patients.csv")
    assert patients["nodule_probability"].isna().tolist() == [True, False, False]
    assert patients["notes"].str.contains("a:|b:|c:").sum() == 0
    assert (folder.path / "failures.json").read_text() == '{\n  "d": "broken"\n}\n'
    folder.write_tables(["a"], {})
    assert not (folder.path / "failures.json").exists()
    assert len(pd.read_parquet(folder.path / "detections.parquet")) == 0
    assert (folder.path / "detections.csv").read_text().strip() == "seriesuid,coordX,coordY,coordZ,probability"


def test_the_same_settings_go_on_and_others_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    results(out, flips=("", "x"))
    results(out, flips=["", "x"])  # JSON knows no tuples
    with pytest.raises(StoreError, match=r"out: .* other settings \(flips, mean differ\).*overwrite=true"):
        results(out, flips=[""], mean="logit")
    with pytest.raises(StoreError, match="single differ"):
        results(out, single="chest", flips=["", "x"])


def test_overwriting_deletes_results_and_nothing_else(tmp_path: Path) -> None:
    folder = results(tmp_path / "out", n=1)
    write(folder, chest(BALL))
    folder.write_tables(["chest"], {})
    (folder.path / "froc").mkdir()
    (folder.path / "froc" / "froc.json").write_text("{}")
    kept = [folder.path / "scan.mhd", folder.path / "papers" / "draft.tex", folder.path / "chest" / "my notes.txt"]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("kept")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "detections.json").write_text("kept")
    (folder.path / "link").symlink_to(elsewhere)
    other = ResultFolder(folder.path, settings={"n": 2}, single=None)
    other.claim(overwrite=True)
    left = sorted(path for path in folder.path.rglob("*") if path.is_file() and "link" not in path.parts)
    assert left == sorted([*kept, folder.path / "detect.json"])
    assert (elsewhere / "detections.json").read_text() == "kept"
    assert not other.has("chest")


@pytest.mark.parametrize("marker", ["not JSON", "[]", '{"format": "another program"}'])
def test_a_foreign_marker_is_no_result_folder(marker: str, tmp_path: Path) -> None:
    (tmp_path / "detect.json").write_text(marker)
    with pytest.raises(StoreError, match="holds no results of lungdet detect; give out=<new folder>"):
        ResultFolder(tmp_path, settings={}, single=None).claim(overwrite=True)
    assert (tmp_path / "detect.json").read_text() == marker
