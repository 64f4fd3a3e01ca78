"""Which scans and points are looked at, and what the sections on scans say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.views import View
from lungdet.exploration.content import Words
from lungdet.exploration.scan_survey import HeaderSurvey, VolumeSurvey
from lungdet.exploration.scans import (
    chosen_points,
    chosen_scans,
    file_word,
    hu_section,
    nodules_section,
    samples_section,
    scan_sizes_section,
)
from lungdet.store.value_counts import ValueCounts

WORDS = Words(("non_nodule", "nodule"), "candidate", "candidates", "subset", "subsets")
SERIES = pd.DataFrame(
    {"series_uid": [f"s{n:03d}" for n in range(100)], "patient_id": [f"p{n // 2}" for n in range(100)]}
)


def points() -> pd.DataFrame:
    """Three candidates a scan; the first of the first thirty scans is a nodule."""
    table = SERIES.loc[SERIES.index.repeat(3)].reset_index(drop=True)
    numbers = np.arange(len(table))
    return table.assign(
        label=((numbers % 3 == 0) & (numbers < 90)).astype(int),
        candidate_id=numbers,
        diameter_mm=np.where(numbers % 3 == 0, 6.25, np.nan),
    )


def test_chosen_scans_hold_both_classes_and_many_patients() -> None:
    chosen = chosen_scans(points(), SERIES, n=20, seed=0)
    assert chosen == sorted(chosen)
    assert len(set(chosen)) == 20
    with_nodule = [uid for uid in chosen if int(uid[1:]) < 30]
    assert len(with_nodule) >= 10
    assert len({int(uid[1:]) // 2 for uid in with_nodule}) >= 10, "one scan a patient while there are other patients"
    assert chosen == chosen_scans(points(), SERIES, n=20, seed=0) != chosen_scans(points(), SERIES, n=20, seed=1)
    assert chosen_scans(points(), SERIES, n=None, seed=0) == SERIES["series_uid"].tolist()


def test_chosen_points_lie_in_those_scans() -> None:
    table = points()
    scans = ["s000", "s001", "s002", "s050"]
    shown = chosen_points(table, scans, n=3, n_classes=2, seed=0)
    assert table.loc[shown, "label"].tolist() == [0, 0, 0, 1, 1, 1]
    assert set(table.loc[shown, "series_uid"]) <= set(scans)
    assert table.loc[shown[:3], "patient_id"].nunique() == 3


def test_samples_are_named_by_patient_and_size() -> None:
    view = View("axial", np.zeros((5, 5), np.float32), 1.0, ("A", "P", "R", "L"))
    section = samples_section(points(), VolumeSurvey(views={0: view, 1: view}), WORDS, shown=[1, 0, 7])
    assert [(grid.name, grid.title) for grid in section.grids] == [
        ("samples-non-nodule", "non_nodule, 1 at random"),
        ("samples-nodule", "nodule, 1 at random"),
    ]
    assert section.grids[1].samples[0].name == "p0, 6.2 mm"
    assert section.grids[1].samples[0].note == "s000, candidate 0"
    assert section.record == {"rows": [1, 0]}


def test_hu_are_summed_up() -> None:
    near = {name: ValueCounts((-1024, 3071)) for name in WORDS.classes}
    near["nodule"].add(np.array([0, 100], np.int16))
    survey = VolumeSurvey(near=near, read=["a"])
    survey.everywhere.add(np.array([-2000, -1024, 0, 4000], np.int16))
    section = hu_section(survey, WORDS, n_scans=7, source="stored scans")
    assert section.text.startswith("Read: 1 of 7 stored scans.")
    assert section.record["all voxels"]["share_at_lowest"] == 0.5
    assert section.record["near nodule"]["mean_hu"] == 50
    assert "near non_nodule" not in section.record, "no voxel of it was read"
    assert hu_section(VolumeSurvey(), WORDS, n_scans=1, source="").text == "No scan could be read."


def headers(**columns: object) -> HeaderSurvey:
    rows = {"series_uid": ["a", "b"], "rows": 512, "columns": 512, "slices": [100, 300], "spacing_x_mm": [0.6, 0.8]}
    rows |= {
        "spacing_y_mm": 0.7,
        "spacing_z_mm": [1.25, 2.5],
        "size_x_mm": 350.0,
        "size_y_mm": 350.0,
        "size_z_mm": 300.0,
    }
    return HeaderSurvey(pd.DataFrame(rows | {"standing": "axial"} | columns), {})


def test_sizes_and_what_is_odd_about_them() -> None:
    section = scan_sizes_section(headers(), source="original files")
    assert section.record["slices"] == pytest.approx({"p0": 100, "p5": 110, "p50": 200, "p95": 290, "p100": 300})
    assert section.findings == (), "a factor of two is usual"
    codes = [f.code for f in scan_sizes_section(headers(spacing_z_mm=[0.5, 2.5]), source="").findings]
    assert codes == ["spacings"]
    odd = scan_sizes_section(headers(spacing_z_mm=[1.0, 5.0], standing=["flipped", "oblique"]), source="")
    assert [f.code for f in odd.findings] == ["directions", "thick_slices"]
    assert "2 scans do not run along x, y, z (1 flipped, 1 oblique)" in odd.findings[0].text
    assert scan_sizes_section(HeaderSurvey(pd.DataFrame(), {}), source="").text == "No header could be read."


def test_nodules_per_scan_count_scans_without() -> None:
    annotations = pd.DataFrame({"series_uid": ["s000", "s000", "s003"], "diameter_mm": [4.0, 8.0, 12.0]})
    section = nodules_section(annotations, SERIES.iloc[:4])
    assert section.text == "3 annotated nodules in 4 scans; 2 of these have none."
    assert section.record["diameter_mm"]["p50"] == 8
    assert section.record["per_scan"]["p100"] == 2
    assert nodules_section(annotations.iloc[:0], SERIES).drawings == ()


def test_names_of_files() -> None:
    assert file_word("a/b c\u00e9") == "a-b-c-"
