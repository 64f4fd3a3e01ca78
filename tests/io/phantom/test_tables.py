from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.io.luna16 import (
    read_annotations,
    read_candidates,
    read_excluded,
    read_malignancy,
    read_series,
    read_seriesuids,
)
from lungdet.io.phantom.tables import write_tables


def truth(uid: str, subset: int, annotations: list[dict[str, Any]]) -> dict[str, Any]:
    marks = [{"center": (1.5, 2.0, -3.25), "nodule": -1, "kind": "pleura"}]
    marks += [{"center": a["center"], "nodule": i, "kind": "nodule"} for i, a in enumerate(annotations)]
    return {
        "series_uid": uid, "patient_id": f"P{uid}", "subset": subset, "annotations": annotations,
        "excluded": [(1.0, 2.0, 3.0, -1.0), (1.0, 2.0, 3.0, -1.0), (4.0, 5.0, 6.0, 7.25)],
        "candidates_v1": marks[:1], "candidates_v2": marks,
    }  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    nodule = {
        "center": (10.5, -20.25, 30.125), "diameter_mm": 6.5, "texture": "solid", "margin": "lobulated",
        "attachment": "vessel", "calcified": False, "is_malignant": True, "malignancy_logit": 0.25,
        "ratings": [4, 2, 4, 2], "mal_bool": True, "box": ((7.0, -24.0, 26.0), (14.0, -16.0, 34.0)),
    }  # fmt: skip
    write_tables(tmp_path, [truth("2.25.9", 3, []), truth("2.25.1", 0, [nodule])])
    return tmp_path


def test_our_readers_read_them(root: Path) -> None:
    assert read_seriesuids(root / "seriesuids.csv") == ("2.25.1", "2.25.9")
    assert read_series(root / "series.csv").to_numpy().tolist() == [["2.25.1", 0, "P2.25.1"], ["2.25.9", 3, "P2.25.9"]]
    assert read_annotations(root / "annotations.csv").to_numpy().tolist() == [["2.25.1", 10.5, -20.25, 30.125, 6.5]]
    malignancy = read_malignancy(root / "annotations_with_malignancy.csv")
    assert malignancy["is_malignant"].tolist() == [True]
    assert malignancy["ratings"].tolist() == [(4, 2, 4, 2)]
    excluded = read_excluded(root / "annotations_excluded.csv")
    np.testing.assert_array_equal(excluded["diameter_mm"], [-1, -1, 7.25] * 2)
    assert excluded.duplicated().sum() == 2
    assert read_candidates(root / "candidates.csv")["is_nodule"].tolist() == [False, False]
    assert read_candidates(root / "candidates_V2.csv")["is_nodule"].tolist() == [False, True, False]


def test_text_as_in_the_official_files(root: Path) -> None:
    assert (root / "seriesuids.csv").read_text() == "2.25.1\n2.25.9\n"
    lines = (root / "annotations_excluded.csv").read_text().splitlines()
    assert lines[:2] == ["seriesuid,coordX,coordY,coordZ,diameter_mm", "2.25.1,1.0,2.0,3.0,-1"]
    assert (root / "candidates_V2.csv").read_text().startswith("seriesuid,coordX,coordY,coordZ,class\n2.25.1,1.5,")


def test_kinds_belong_to_the_rows_of_v2(root: Path) -> None:
    kinds = pd.read_csv(root / "candidate_kinds_V2.csv")
    candidates = read_candidates(root / "candidates_V2.csv")
    assert kinds["candidate_id"].tolist() == candidates["candidate_id"].tolist()
    assert (kinds["kind"] == "nodule").tolist() == candidates["is_nodule"].tolist()
    row = pd.read_csv(root / "nodule_truth.csv").iloc[0]
    assert (row["texture"], row["margin"], row["attachment"], row["is_malignant"]) == (
        "solid",
        "lobulated",
        "vessel",
        True,
    )


@pytest.mark.realdata
def test_columns_are_those_of_the_real_files(root: Path, realdata: Path) -> None:
    for name in ("annotations.csv", "annotations_excluded.csv", "annotations_with_malignancy.csv", "series.csv"):
        assert pd.read_csv(root / name, nrows=0).columns.tolist() == (
            pd.read_csv(realdata / "luna16" / name, nrows=0).columns.tolist()
        )
