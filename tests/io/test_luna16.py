from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import MissingFileError, ScanError, TableError
from lungdet.io.luna16 import CITATION, LICENCE, find_scans, match_annotations, read_luna16

POINT = ["series_uid", "center_x_mm", "center_y_mm", "center_z_mm"]
ANNOTATIONS = "seriesuid,coordX,coordY,coordZ,diameter_mm\n1.1,0,0,0,6\n1.2,10,0,0,8\n1.9,0,0,0,5\n1.2,13,0,0,20\n"
CANDIDATES = (
    "seriesuid,coordX,coordY,coordZ,class\n1.9,0,0,0,1\n1.2,11,0,0,1\n1.1,50,0,0,0\n1.1,0.5,0,0,1\n1.3,0,0,0,1\n"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Subsets 0 and 3 with three scans, and tables that speak of a fourth series too."""
    for name in ("subset0/1.2.mhd", "subset0/1.2.raw", "subset3/1.1.mhd", "subset3/1.3.nii.gz", "masks/1.1.mhd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "annotations.csv").write_text(ANNOTATIONS)
    return tmp_path


def test_find_scans(root: Path) -> None:
    scans = find_scans(root)
    assert list(scans) == ["1.1", "1.2", "1.3"]
    assert scans["1.3"] == root / "subset3" / "1.3.nii.gz"
    assert list(find_scans(str(root), subsets=[0])) == ["1.2"]
    (root / "1.0.nrrd").touch()
    assert list(find_scans(root)) == ["1.0", "1.1", "1.2", "1.3"]
    assert list(find_scans(root, subsets=[3, 0])) == ["1.1", "1.2", "1.3"]


def test_two_files_of_one_series(root: Path) -> None:
    (root / "subset3" / "1.2.mha").touch()
    with pytest.raises(ScanError, match=r"two files of one series: .*subset0.1\.2\.mhd and .*subset3.1\.2\.mha"):
        find_scans(root)
    assert list(find_scans(root, subsets=[0])) == ["1.2"]


def test_nothing_to_find(tmp_path: Path, root: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere: no such folder; give the one that holds subset0"):
        find_scans(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match="no subset1, subset7 here; subsets on disk: subset0, subset3"):
        find_scans(root, subsets=[0, 7, 1])
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingFileError, match="no subset1 here; subsets on disk: none"):
        find_scans(tmp_path / "empty", subsets=[1])
    with pytest.raises(MissingFileError, match=r"no scan \(\.mhd, .*\) in .*empty; is .*empty the LUNA16 folder\?"):
        find_scans(tmp_path / "empty")


def test_only_series_on_disk_are_kept_and_both_counts_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "candidates.csv").write_text(CANDIDATES)
    (root / "seriesuids.csv").write_text("1.1\n1.2\n1.3\n1.9\n")
    with caplog.at_level(logging.INFO, "lungdet.io.luna16"):
        luna = read_luna16(root)
    assert list(luna.scan_paths) == luna.series["series_uid"].tolist() == ["1.1", "1.2", "1.3"]
    assert luna.series["subset"].tolist() == [3, 0, 3]
    assert luna.series["patient_id"].tolist() == ["1.1", "1.2", "1.3"]
    assert luna.annotations["diameter_mm"].tolist() == [6, 8, 20]
    assert luna.annotations.index.tolist() == [0, 1, 2]
    assert len(luna.excluded) == 0
    assert list(luna.excluded.columns) == list(luna.annotations.columns)
    assert luna.malignancy is None
    assert luna.candidates is not None
    assert luna.candidates["candidate_id"].tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(luna.candidates["diameter_mm"], [8, np.nan, 6, np.nan])
    assert luna.candidates["annotation_row"].tolist() == [1, -1, 0, -1]
    assert luna.candidates["annotation_row"].dtype == np.int64
    assert luna.counts == {
        "series_listed": 4,
        "series_on_disk": 3,
        "annotations_read": 4,
        "annotations_kept": 3,
        "excluded_read": 0,
        "excluded_kept": 0,
        "candidates_read": 5,
        "candidates_kept": 4,
        "positives_kept": 3,
        "positives_without_annotation": 1,
    }
    assert "series_listed 4, series_on_disk 3" in caplog.text
    assert "1 positive candidates have no annotation within reach; their diameter is NaN, first row 4" in caplog.text


def test_v2_is_preferred_and_another_file_can_be_chosen(root: Path) -> None:
    assert read_luna16(root).candidates is None
    (root / "candidates.csv").write_text(CANDIDATES)
    (root / "CSVFILES").mkdir()
    (root / "CSVFILES" / "candidates_V2.csv").write_text(CANDIDATES + "1.1,0,0,0,0\n")
    assert read_luna16(root).counts["candidates_read"] == 6
    assert read_luna16(root, candidates_file="candidates.csv").counts["candidates_read"] == 5
    with pytest.raises(MissingFileError, match=r"no mine\.csv in any of \., CSVFILES, csv, evaluation"):
        read_luna16(root, candidates_file="mine.csv")


def test_no_warning_where_every_positive_has_its_annotation(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "candidates.csv").write_text("".join(CANDIDATES.splitlines(keepends=True)[:-1]))
    assert read_luna16(root).counts["positives_without_annotation"] == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_annotations_must_be_there_but_may_lie_with_the_evaluation_script(root: Path) -> None:
    folder = root / "evaluationScript" / "annotations"
    folder.mkdir(parents=True)
    (root / "annotations.csv").rename(folder / "annotations.csv")
    assert read_luna16(root, subsets=[0]).counts["annotations_kept"] == 2
    (folder / "annotations.csv").unlink()
    with pytest.raises(MissingFileError, match=r"no annotations\.csv in any of"):
        read_luna16(root)


def test_excluded_and_malignancy(root: Path) -> None:
    (root / "annotations_excluded.csv").write_text(ANNOTATIONS.replace(",5\n", ",-1\n"))
    (root / "annotations_with_malignancy.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm,mal_bool,mal_details\n1.9,0,0,0,5,True,[4]\n1.1,0,0,0,6,False,[2]\n"
    )
    luna = read_luna16(root)
    assert len(luna.excluded) == 3
    assert luna.malignancy is not None
    assert luna.malignancy["ratings"].tolist() == [(2,)]
    assert (luna.counts["malignancy_read"], luna.counts["malignancy_kept"]) == (2, 1)


def test_patients_and_subsets_from_the_series_table(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "1.0.mhd").touch()
    (root / "series.csv").write_text("seriesuid,subset,patient_id\n1.3,3,a\n1.1,3,b\n1.0,7,b\n1.9,1,c\n")
    luna = read_luna16(root)
    assert luna.series.to_dict("list") == {
        "series_uid": ["1.0", "1.1", "1.2", "1.3"],
        "subset": [7, 3, 0, 3],  # 1.0 lies in the root: the table decides
        "patient_id": ["b", "b", "1.2", "a"],
    }
    assert luna.series["subset"].dtype == np.int64
    assert luna.counts["series_listed"] == 4
    assert "does not list 1 series on disk, first 1.2; each counts as a patient of its own" in caplog.text


def test_a_scan_in_the_wrong_subset(root: Path) -> None:
    (root / "series.csv").write_text("seriesuid,subset,patient_id\n1.1,3,a\n1.2,5,b\n1.3,3,b\n")
    with pytest.raises(TableError, match=r"series 1\.2 is listed in subset 5, but lies at .*subset0.1\.2\.mhd"):
        read_luna16(root)


def test_the_patient_with_two_series_is_known_without_a_table(root: Path) -> None:
    twins = (
        "1.3.6.1.4.1.14519.5.2.1.6279.6001.159996104466052855396410079250",
        "1.3.6.1.4.1.14519.5.2.1.6279.6001.316900421002460665752357657094",
    )
    for uid in twins:
        (root / "subset0" / f"{uid}.mhd").touch()
    series = read_luna16(root).series
    assert series.loc[series["series_uid"].isin(twins), "patient_id"].tolist() == ["LIDC-IDRI-0332"] * 2
    assert series["patient_id"].nunique() == 4


def points(*rows: tuple[object, ...], last: str) -> pd.DataFrame:
    return pd.DataFrame([*rows], columns=[*POINT, last])


@pytest.mark.parametrize(
    ("x", "row", "why"),
    [
        (1.0, 0, "inside the first only"),
        (9.0, 1, "inside both, nearer to the second"),
        (6.9, 0, "inside the first, although the second is nearer"),
        (12.9, 1, "outside both, 1.9 mm from the second"),
        (16.0, 1, "5 mm from the second's surface"),
        (16.1, -1, "out of reach"),
        (-11.9, 0, "4.9 mm from the first's surface"),
    ],
)
def test_which_annotation_a_candidate_stands_for(x: float, row: int, why: str) -> None:
    # Spheres on the x axis: 0 +- 7 and 10 +- 1, and one of another series right where we ask.
    annotations = points(("a", 0.0, 0, 0, 14.0), ("a", 10.0, 0, 0, 2.0), ("b", x, 0, 0, 30.0), last="diameter_mm")
    result = match_annotations(points(("a", x, 0, 0, True), last="is_nodule"), annotations)
    assert result["annotation_row"].tolist() == [row], why
    np.testing.assert_array_equal(result["diameter_mm"], [[14.0, 2.0][row] if row >= 0 else np.nan])


def test_matching_agrees_with_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    annotations = pd.DataFrame(rng.uniform(0, 60, (40, 3)), columns=POINT[1:]).assign(
        series_uid=rng.choice(list("abc"), 40), diameter_mm=rng.uniform(3, 30, 40)
    )
    candidates = pd.DataFrame(rng.uniform(0, 60, (300, 3)), columns=POINT[1:]).assign(
        series_uid=rng.choice(list("abcd"), 300), is_nodule=rng.random(300) < 0.5
    )
    result = match_annotations(candidates, annotations)
    expected = []
    nodules = list(
        zip(annotations["series_uid"], annotations[POINT[1:]].to_numpy(), annotations["diameter_mm"], strict=True)
    )
    for uid, center, is_nodule in zip(
        candidates["series_uid"], candidates[POINT[1:]].to_numpy(), candidates["is_nodule"], strict=True
    ):
        best, best_key = -1, (2.0, np.inf)
        for row, (other, middle, diameter) in enumerate(nodules):
            distance = float(np.sqrt(((center - middle) ** 2).sum()))
            beyond = distance - diameter / 2
            key = (float(beyond > 0), distance)
            if is_nodule and uid == other and beyond <= 5 and key < best_key:
                best, best_key = row, key
        expected.append(best)
    assert result["annotation_row"].tolist() == expected
    assert len(set(expected)) > 10
    known = result["annotation_row"] >= 0
    diameters = annotations["diameter_mm"].to_numpy()[result.loc[known, "annotation_row"]]
    np.testing.assert_array_equal(result.loc[known, "diameter_mm"], diameters)
    assert result.loc[~known, "diameter_mm"].isna().all()
    assert list(result.columns[: len(candidates.columns)]) == list(candidates.columns)


def test_the_collection_is_cited() -> None:
    assert "CC BY" in LICENCE
    assert "10.1016/j.media.2017.06.015" in CITATION


@pytest.mark.realdata
def test_the_real_folder(realdata: Path) -> None:
    luna = read_luna16(realdata / "luna16")
    assert luna.counts["series_listed"] == 888
    assert luna.counts["series_on_disk"] == len(luna.scan_paths) == 1
    assert luna.series["patient_id"].tolist() == ["LIDC-IDRI-0063"]
    assert luna.series["subset"].tolist() == [3]
    assert len(luna.annotations) == 2
    assert luna.candidates is None
    assert luna.malignancy is not None
    assert len(luna.malignancy) == 2
    slabs = read_luna16(realdata / "luna16_slabs")
    assert slabs.counts["series_listed"] == slabs.counts["series_on_disk"] == 3
