"""Labelled points of a CT collection, and where headers and voxels come from; whole explorations in `end_to_end`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.cli.explore_scans import copies, header_reader, labelled_points, usable_store, volume_reader, with_findings
from lungdet.data.candidates import CandidateSamples
from lungdet.errors import StoreError
from lungdet.evaluation.results import Finding
from lungdet.exploration.content import Section, Words

SERIES = pd.DataFrame({"series_uid": ["a", "b"], "patient_id": [1, 2], "subset": [3, -1]})


def table(*uids: str, **columns: Any) -> pd.DataFrame:
    n = len(uids)
    centers = {f"center_{axis}_mm": np.arange(n, dtype=float) for axis in "xyz"}
    return pd.DataFrame({"series_uid": uids, "diameter_mm": 5.0, **centers, **columns})


CANDIDATES = table("a", "c", "b", candidate_id=[7, 8, 9], is_nodule=[True, True, False])


def collection(**changed: Any) -> Any:
    given = {"root": Path("luna"), "series": SERIES, "annotations": table("b", "a"), "candidates": CANDIDATES}
    return SimpleNamespace(**(given | changed))


def datamodule(samples: Any, classes: tuple[str, str] = ("non_nodule", "nodule")) -> Any:
    return SimpleNamespace(samples=samples, classes=classes)


def test_candidates_of_scans_on_disk() -> None:
    points, words, findings = labelled_points(datamodule(CandidateSamples()), collection())
    assert points["candidate_id"].tolist() == [7, 9], "c is not on disk"
    assert points["label"].tolist() == [1, 0]
    assert points["patient_id"].tolist() == ["1", "2"]
    assert points["partition"].tolist() == ["subset 3", ""]
    assert (words.item, words.items, words.classes) == ("candidate", "candidates", ("non_nodule", "nodule"))
    assert findings == []


@pytest.mark.parametrize(
    ("samples", "changed", "said"),
    [(CandidateSamples(), {"candidates": None}, "has no candidates_V2.csv"), (object(), {}, "masks have no classes")],
)
def test_annotated_nodules_alone(samples: Any, changed: dict[str, Any], said: str) -> None:
    points, words, (finding,) = labelled_points(datamodule(samples), collection(**changed))
    assert points["series_uid"].tolist() == ["b", "a"]
    assert points["label"].tolist() == [0, 0], "of the one class there is"
    assert (words.classes, words.items) == (("nodule",), "annotated nodules")
    assert (finding.kind, finding.code) == ("note", "no_candidates")
    assert said in finding.text


def test_a_collection_without_subsets() -> None:
    plain = collection(series=SERIES.drop(columns="subset"))
    assert set(labelled_points(datamodule(CandidateSamples()), plain)[0]["partition"]) == {""}


def test_classes_without_nodule_are_classes_of_nodules() -> None:
    words = labelled_points(datamodule(CandidateSamples(), ("benign", "malignant")), collection())[1]
    assert words.items == "nodules"


def test_why_there_is_no_store() -> None:
    broken: Any = SimpleNamespace(store_problems=lambda: ["no store at x.", "Type y."])
    assert usable_store(broken) == (None, "no store at x. Type y.")
    made: list[str] = []
    fine: Any = SimpleNamespace(store_problems=list, prepare_data=lambda: made.append("made"), store="the store")
    given: Any = usable_store(fine)
    assert given == ("the store", "")
    assert made == ["made"]


class Stored:
    """A store of `a` alone, of cubes without image files."""

    def __contains__(self, uid: str) -> bool:
        return uid == "a"

    def volume(self, uid: str) -> str:
        return f"voxels of {uid}"

    def geometry(self, uid: str) -> str:
        return f"grid of {uid}"

    def source_geometry(self, uid: str) -> str:
        return f"source grid of {uid}"

    def pixel_hashes(self, uids: list[str]) -> dict[str, str]:
        return dict.fromkeys(uids, "same")


def test_voxels_are_stored_ones_where_they_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "lungdet.cli.explore_scans.read_scan", lambda path: SimpleNamespace(hu=f"file {path}", geometry="its grid")
    )
    monkeypatch.setattr("lungdet.cli.explore_scans.read_header", lambda path: f"header {path}")
    paths: Any = SimpleNamespace(scan_paths={"a": Path("a.mhd"), "b": Path("b.mhd"), "cube": Path("cubes")})
    store: Any = Stored()
    voxels: list[Any] = [volume_reader(paths, store)(uid) for uid in ("a", "b")]
    assert voxels == [("voxels of a", "grid of a"), ("file b.mhd", "its grid")]
    original: Any = volume_reader(paths, None)("a")
    assert original == ("file a.mhd", "its grid")
    headers: list[Any] = [header_reader(paths, store)(uid) for uid in ("a", "cube")]
    assert headers == ["header a.mhd", "source grid of cube"]


def test_equal_stored_voxels_are_found_and_a_store_that_cannot_tell_says_why() -> None:
    words = Words(("non_nodule", "nodule"), "candidate", "candidates", "subset", "subsets")
    everything: Any = type("All", (Stored,), {"__contains__": lambda self, uid: True})()
    found = copies(everything, CANDIDATES, SERIES, words)
    assert "2 stored scans compared voxel by voxel" in found.text
    assert "a" in str(found.record) + str(found.lists)

    def broken(self: Any, uids: list[str]) -> None:
        raise StoreError("damaged")

    damaged: Any = type("Damaged", (Stored,), {"pixel_hashes": broken})()
    assert copies(damaged, CANDIDATES, SERIES, words).text == "Not compared: damaged"


def test_more_findings_come_first() -> None:
    one, other = Finding("note", "one", "x"), Finding("note", "other", "y")
    assert with_findings(Section("s", "S", findings=(one,)), [other]).findings == (other, one)
