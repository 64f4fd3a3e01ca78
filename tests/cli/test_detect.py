"""`lungdet detect` from files to files with blobs: what it writes, resumes, refuses, and says of failures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from tests.cli.chests import BALL, SHARP, chest, write_dicom, write_scan

from lungdet.cli import detect as command
from lungdet.cli.detect import overrides
from lungdet.cli.scan_results import ResultFolder
from lungdet.io.luna16_tables import read_marks

Command = Callable[..., None]
Refused = Callable[..., str]

TABLES = ("detections.csv", "detections.parquet", "patients.csv", "seriesuids.csv")
OF_ONE = {"detections.csv", "detections.parquet", "detections.json", "detections.mrk.json", "report.html"}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of three: a ball in the lung, clear lungs, no lungs at all."""
    write_scan(chest(BALL), tmp_path / "scans" / "ball.mhd")
    write_scan(chest(seed=1), tmp_path / "scans" / "clear.nii.gz")
    write_scan(chest(lungs=False), tmp_path / "scans" / "deeper" / "solid.nrrd")
    return tmp_path / "scans"


def test_one_scan(detecting: Command, tmp_path: Path) -> None:
    write_scan(chest(BALL), tmp_path / "ball.mhd")
    detecting("input=ball.mhd", "out=found", *SHARP)
    names = {path.name for path in (tmp_path / "found").iterdir()}
    assert names == OF_ONE | {"detect.json", "patients.csv", "seriesuids.csv"}
    (row,) = read_marks(tmp_path / "found" / "detections.csv").to_dict("records")
    assert row["series_uid"] == "ball"
    z, y, x, _ = BALL
    assert np.allclose([row["center_x_mm"], row["center_y_mm"], row["center_z_mm"]], [x, y, z], atol=2.5)


def test_a_collection(detecting: Command, scans: Path, tmp_path: Path) -> None:
    detecting("input=scans", "out=found", *SHARP)
    found = tmp_path / "found"
    for uid in ("ball", "clear", "solid"):
        assert {path.name for path in (found / uid).iterdir()} == OF_ONE
    assert (found / "seriesuids.csv").read_text().split() == ["ball", "clear", "solid"]
    candidates = pd.read_parquet(found / "detections.parquet")
    assert candidates["series_uid"].tolist() == ["ball"]
    assert read_marks(found / "detections.csv")["probability"].tolist() == candidates["probability"].tolist()
    patients = pd.read_csv(found / "patients.csv").set_index("series_uid")
    assert patients["n_candidates"].to_dict() == {"ball": 1, "clear": 0, "solid": 0}
    score = patients["nodule_probability"]
    assert score["clear"] == 0, "searched, nothing there"
    assert np.isnan(score["solid"]), "not searched"
    assert str(patients["notes"]["solid"]).startswith("no lungs found")
    assert patients["malignancy_probability"].isna().all()
    page = (found / "index.html").read_text()
    assert "1 of 3 scans holds a finding at the threshold, 1 could not be judged." in page
    assert not (found / "failures.json").exists()


def test_a_broken_scan_among_good_ones(detecting: Command, refused: Refused, scans: Path, tmp_path: Path) -> None:
    whole = (scans / "ball.raw").read_bytes()
    (scans / "ball.raw").write_bytes(whole[:-1000])
    message = refused("input=scans", "out=found", *SHARP)
    assert message.startswith("lungdet: 1 of 3 scan(s) failed; the others have results.\n  ball: ")
    found = tmp_path / "found"
    assert list(json.loads((found / "failures.json").read_text())) == ["ball"]
    assert "1 failed" in (found / "index.html").read_text()
    assert (found / "seriesuids.csv").read_text().split() == ["clear", "solid"]
    assert not (found / "ball" / "detections.json").exists()
    (scans / "ball.raw").write_bytes(whole)
    detecting("input=scans", "out=found", *SHARP)
    assert not (found / "failures.json").exists()
    assert len(pd.read_csv(found / "patients.csv")) == 3


def test_nothing_but_failures(refused: Refused, scans: Path, tmp_path: Path) -> None:
    (scans / "ball.raw").write_bytes(b"")
    message = refused("input=scans/ball.mhd", "out=found")
    assert message.startswith("lungdet: 1 of 1 scan(s) failed.\n  ball: ")
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == ["detect.json", "failures.json"]


def test_a_defect_in_one_scan_costs_the_others_nothing(
    scans: Path, tmp_path: Path, detecting: Command, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = ResultFolder.write

    def defect(self: ResultFolder, scan: object, *given: object, **named: object) -> None:
        if getattr(scan, "series_uid", "") == "clear":
            raise ZeroDivisionError("made up")
        write(self, scan, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ResultFolder, "write", defect)
    with pytest.raises(SystemExit, match="2"):
        detecting("input=scans", "out=found", *SHARP)
    assert "clear: unexpected ZeroDivisionError: made up" in capfd.readouterr().err
    assert (tmp_path / "found" / "seriesuids.csv").read_text().split() == ["ball", "solid"]


def test_interrupted_and_called_again(
    detecting: Command, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detecting("input=scans", "out=whole", *SHARP)
    search, searched = command.search_one, list[str]()

    def interrupted(cfg: object, found: object, **named: object) -> object:
        searched.append(found.series_uid)  # type: ignore[attr-defined]
        if len(searched) == 2:
            raise KeyboardInterrupt
        return search(cfg, found, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(command, "search_one", interrupted)
    with pytest.raises(SystemExit, match="130"):
        detecting("input=scans", "out=parts", *SHARP)
    assert not (tmp_path / "parts" / "patients.csv").exists()
    # What a kill leaves of a scan: some files, without the last.
    half = tmp_path / "parts" / "clear"
    half.mkdir()
    (half / "detections.csv").write_text("seri")
    detecting("input=scans", "out=parts", *SHARP)
    assert searched == ["ball", "clear", "clear", "solid"]
    for name in TABLES:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    for name in ("detections.csv", "detections.parquet", "detections.mrk.json"):
        assert (half / name).read_bytes() == (tmp_path / "whole" / "clear" / name).read_bytes(), name
    detecting("input=scans", "out=parts", *SHARP)
    assert len(searched) == 4, "a third call finds everything done"


def test_results_of_other_settings_are_not_mixed(
    detecting: Command, refused: Refused, scans: Path, tmp_path: Path
) -> None:
    (scans / "ball.mhd").unlink()
    detecting("input=scans", "out=found", *SHARP)
    other = (*SHARP, "pipeline.recipe.suppression_mm=9")
    message = refused("input=scans", "out=found", *other)
    assert "holds results of other settings (suppression_mm differ)" in message
    assert "overwrite=true" in message
    before = (tmp_path / "found" / "patients.csv").read_bytes()
    (tmp_path / "found" / "mine.txt").write_text("kept")
    (tmp_path / "found" / "solid" / "mine.txt").write_text("kept")
    detecting("input=scans", "out=found", "overwrite=true", *other)
    assert json.loads((tmp_path / "found" / "detect.json").read_text())["suppression_mm"] == 9
    assert (tmp_path / "found" / "patients.csv").read_bytes() == before
    assert (tmp_path / "found" / "mine.txt").read_text() == "kept"
    assert (tmp_path / "found" / "solid" / "mine.txt").read_text() == "kept"


def test_the_scan_of_another_patient_with_the_same_name(detecting: Command, refused: Refused, tmp_path: Path) -> None:
    write_scan(chest(BALL), tmp_path / "a" / "ct.mhd")
    write_scan(chest(), tmp_path / "b" / "ct.mhd")
    detecting("input=a/ct.mhd", *SHARP)
    assert "(input differ)" in refused("input=b/ct.mhd", *SHARP)
    assert "give them different names" in refused("input=.", "out=both", *SHARP)


@pytest.mark.parametrize("kind", ["folder", "file", "foreign detect.json"])
def test_a_folder_that_holds_no_results_is_left_alone(kind: str, refused: Refused, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "precious"
    if kind == "file":
        out.write_text("kept")
    else:
        out.mkdir()
        (out / "detect.json").write_text('{"single": false}')
    if kind == "folder":
        (out / "detect.json").rename(out / "thesis.tex")
    assert "holds no results of lungdet detect" in refused("input=scans", "out=precious", "overwrite=true", *SHARP)
    assert out.is_file() or len(list(out.iterdir())) == 1


def test_some_scans_only(detecting: Command, refused: Refused, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("seriesuid\nclear\n")
    detecting("input=scans", "out=found", "only=list.csv", *SHARP)
    assert (tmp_path / "found" / "seriesuids.csv").read_text().split() == ["clear"]
    (tmp_path / "list.csv").write_text("clear\n1.2.3\n")
    message = refused("input=scans", "only=list.csv")
    assert "only: 1 of 2 listed series are not in" in message
    assert "first 1.2.3" in message
    assert "only: 'tset' is no file; give null, test, or a file" in refused("input=scans", "only=tset")
    assert "only: test needs the split of a run directory" in refused("input=scans", "only=test")


# fmt: off
MISTAKES = {
    "no input": ([], "input: no value; set input=..."),
    "input that is not there": (["input=nowhere"], "nowhere: no such file or folder"),
    "misspelt key": (["input=scans", "networks.clasifier=x"], "did you mean 'networks.classifier'?"),
    "misspelt recipe": (["input=scans", "pipeline=bok"], "bok"),
    "unknown output": (["input=scans", "outputs=pdf"], "outputs: 'pdf' is unknown; allowed: dicom"),
    "excluded alone": (["input=scans", "excluded=x.csv"], "excluded: without annotations nothing is compared"),
    "annotations that are not there": (["input=scans", "annotations=x.csv"], "x.csv"),
    "excluded that are not there": (["input=scans", "annotations=good.csv", "excluded=x.csv"], "x.csv"),
    "annotations without a column": (["input=scans", "annotations=bad.csv"], "diameter_mm"),
    "negative counts": (["input=scans", "n_shown=-1", "n_bootstraps=-1", "seed=-1"], "3 problem(s)"),
    "percent": (["input=scans", "dicom_probability=50"], "dicom_probability: 50; give a probability from 0 to 1"),
    "no GPU here": (["input=scans", "device=cuda"], "no CUDA device; type device=cpu"),
    "unknown device": (["input=scans", "device=tpu"], "device: expects one of 'auto', 'cpu', 'cuda'"),
    "threshold in percent": (["input=scans", "pipeline.recipe.nodule_threshold=50"],
                             "pipeline.recipe: nodule_threshold=50 must lie in [0, 1]"),
    "unknown patient rule": (["input=scans", "pipeline.recipe.patient_rule=max"], "pipeline.recipe.patient_rule: "),
    "impossible blobs": (["input=scans", "pipeline.blobs.max_candidates=0"], "pipeline.blobs: "),
    "no blobs": (["input=scans", "pipeline.blobs=null"], "pipeline.blobs: null; pipeline=default needs"),
    "misspelt step key": (["input=scans", "+pipeline.blobs.max_candidate=5"], "did you mean 'max_candidates'?"),
    "misspelt inference key": (["input=scans", "+pipeline.inference.classifier.flip=[x]"],
                               "pipeline.inference.classifier.flip: there is no key 'flip'; did you mean 'flips'?"),
    "misspelt inference role": (["input=scans", "+pipeline.inference.clasifier.mean=logit"],
                                "did you mean 'classifier'?"),
    "flips in one word": (["input=scans", "pipeline.inference.classifier.flips=yx"], "flips: expects a list"),
    "no networks for the book": (["input=scans", "pipeline=book"], "networks.segmentation: the book's recipe needs"),
    "no networks for with_book": (["input=scans", "with_book=true"], "networks.classifier: the book's recipe needs"),
    "network that is not there": (["input=scans", "networks.classifier=a/b"], "networks.classifier: no run 'a/b'"),
    "no run yet": (["input=scans", "networks.segmentation=latest"],
                   "networks.segmentation: latest: no finished run of a segmentation"),
}
# fmt: on


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_before_anything_is_computed(
    mistake: str, refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.mhd").write_text("never read")
    (tmp_path / "good.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\na,0,0,0,5\n")
    (tmp_path / "bad.csv").write_text("seriesuid,coordX,coordY,coordZ\na,0,0,0\n")
    arguments, expected = MISTAKES[mistake]
    message = refused(*arguments)
    assert expected in message
    assert len(message) < 800
    assert not (tmp_path / "detections").exists()


def test_dicom_files_on_a_dicom_series(detecting: Command, tmp_path: Path) -> None:
    import highdicom as hd

    uid = "1.2.826.0.1.3680043.8.498.7"
    slices = write_dicom(chest(BALL), tmp_path / "patient" / "series", uid=uid)
    detecting("input=patient", "out=found", "outputs=dicom", *SHARP)
    segmentation = hd.seg.segread(tmp_path / "found" / "segmentation.dcm")
    (segment,) = segmentation.segment_numbers
    z, y, x, diameter = BALL
    of_slices = segmentation.get_pixels_by_source_instance(
        [pydicom.dcmread(path).SOPInstanceUID for path in slices], segment_numbers=[segment],
        ignore_spatial_locations=True, assert_missing_frames_are_empty=True,
    )[..., 0]  # fmt: skip
    where = np.argwhere(of_slices)
    middle = (where.mean(axis=0) - (np.array(of_slices.shape) - 1) / 2) * 4.0
    assert np.allclose(middle, [z, y, x], atol=2.5)
    assert np.ptp(where[:, 0]) * 4.0 <= diameter * 1.5
    report = pydicom.dcmread(tmp_path / "found" / "report.dcm")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert uid in {item.SeriesInstanceUID for item in evidence}
    detecting("input=patient", "out=found", "outputs=[dicom]", *SHARP)  # the same words, so nothing to do


def test_a_result_folder_inside_the_input_is_no_scan(detecting: Command, tmp_path: Path) -> None:
    for k in (1, 2):
        write_dicom(chest(BALL, seed=k), tmp_path / "patient" / f"series{k}", uid=f"1.2.{k}")
    for _ in range(2):
        detecting("input=patient", "out=patient/found", "outputs=dicom", *SHARP)
    assert (tmp_path / "patient" / "found" / "seriesuids.csv").read_text().split() == ["1.2.1", "1.2.2"]
    assert (tmp_path / "patient" / "found" / "1.2.2" / "segmentation.dcm").is_file()


@pytest.mark.parametrize("mixed", [False, True])
def test_dicom_files_need_dicom(mixed: bool, refused: Refused, scans: Path, tmp_path: Path) -> None:
    if mixed:
        write_dicom(chest(), scans / "series")
    message = refused("input=scans", "out=found", "outputs=dicom", *SHARP)
    assert "outputs: a DICOM SEG and SR refer to the slices of a DICOM series" in message
    assert "ball.mhd is none" in message
    assert not (tmp_path / "found").exists()


def test_a_damaged_dicom_series_among_good_ones(refused: Refused, tmp_path: Path) -> None:
    write_dicom(chest(BALL), tmp_path / "all" / "good", uid="1.2.1")
    headers = write_dicom(chest(), tmp_path / "all" / "cut", uid="1.2.2")
    headers[5].write_bytes(headers[5].read_bytes()[:400])
    pixels = write_dicom(chest(), tmp_path / "all" / "half", uid="1.2.3")
    pixels[5].write_bytes(pixels[5].read_bytes()[:-200])
    write_dicom(chest(), tmp_path / "all" / "gap", uid="1.2.4")[7].unlink()
    message = refused("input=all", "out=found", *SHARP)
    assert "3 of 4 scan(s) failed; the others have results." in message
    failures = json.loads((tmp_path / "found" / "failures.json").read_text())
    assert sorted(failures) == ["1.2.3", "1.2.4", "cut"]
    assert "005.dcm" in failures["cut"]
    assert "damaged pixels" in failures["1.2.3"]
    assert "slices are missing" in failures["1.2.4"]
    assert (tmp_path / "found" / "1.2.1" / "report.html").is_file()


@pytest.mark.realdata
def test_real_slices_with_the_books_networks(realdata: Path, detecting: Command, tmp_path: Path) -> None:
    """16 slices with one annotated nodule: the most probable finding lies in it, also in the DICOM SEG.

    The book's recipe needs 32 slices, which costs the comparison and not the result.
    """
    import highdicom as hd

    (seg,) = (realdata / "book_weights").glob("seg_*.state")
    (cls,) = (realdata / "book_weights").glob("cls_*.state")
    detecting(
        f"input={realdata}/dicom", "out=found", "outputs=dicom", f"networks.segmentation={seg}",
        f"networks.classifier={cls}", "with_book=true", "n_shown=1", "n_bootstraps=0",
        f"annotations={realdata}/luna16_slabs/annotations.csv",
    )  # fmt: skip
    found = tmp_path / "found"
    (uid,) = (found / "seriesuids.csv").read_text().split()
    first = json.loads((found / "detections.json").read_text())["candidates"][0]
    nodules = pd.read_csv(realdata / "luna16_slabs" / "annotations.csv").set_index("seriesuid").loc[[uid]]
    distance = np.linalg.norm(nodules[["coordX", "coordY", "coordZ"]].to_numpy() - first["center_xyz_mm"], axis=1)
    assert first["probability"] > 0.9
    assert (distance < nodules["diameter_mm"] / 2).any()
    (notes,) = pd.read_csv(found / "patients.csv")["notes"]
    assert "no comparison with pipeline=book: " in notes
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in (realdata / "dicom").rglob("*.dcm")]
    headers.sort(key=lambda header: float(header.ImagePositionPatient[2]))
    pixels = hd.seg.segread(found / "segmentation.dcm").get_pixels_by_source_instance(
        [header.SOPInstanceUID for header in headers], segment_numbers=[1],
        ignore_spatial_locations=True, assert_missing_frames_are_empty=True,
    )[..., 0]  # fmt: skip
    z, y, x = (round(v) for v in first["index_zyx"])
    assert pixels[z, y, x] == 1
    assert pixels.sum() == first["region"]["n_voxels"]
    assert json.loads((found / "froc" / "froc.json").read_text())["counts"]["true_positives"] == len(nodules)


@pytest.mark.parametrize("path", ["scan.mhd", "/my scans/a, b (c).nii.gz", "it's.mhd", "~/x{y}.mhd"])
def test_a_path_alone_is_the_input_whatever_it_holds(path: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    first, second = overrides([path, "with_book=true"])
    parsed = OverridesParser.create().parse_override(first)
    assert parsed.key_or_group == "input"
    assert parsed.value() == path
    assert second == "with_book=true"


def test_words_of_hydra_stay_as_they_are() -> None:
    for words in ([], ["--help"], ["input=scan.mhd"], ["--cfg", "job"]):
        assert overrides(words) == words
