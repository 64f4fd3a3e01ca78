"""Folders of `lungdet detect` scored against their annotations and compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungdet.cli.detection_comparison import compare_detection_folders
from lungdet.errors import RunError, TableError

UIDS = [f"1.2.{i:02d}" for i in range(30)]


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """A nodule of 10 mm at the origin of every other scan."""
    path = tmp_path / "annotations.csv"
    path.write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n" + "".join(f"{u},0,0,0,10\n" for u in UIDS[::2]))
    return path


def detected(folder: Path, truth: Path | None, *, skill: float, uids: list[str], threshold: float = 0.5) -> Path:
    """What `lungdet detect` leaves that a comparison reads: a mark on every nodule, three beside it in every scan."""
    rng = np.random.default_rng(len(folder.name))
    folder.mkdir()
    rows = [(uid, 0.0, rng.normal(skill)) for uid in uids[::2]] + [(uid, 80.0, rng.normal()) for uid in uids * 3]
    table = pd.DataFrame(rows, columns=["series_uid", "center_x_mm", "logit"])
    table = table.assign(center_y_mm=0.0, center_z_mm=0.0, probability=1 / (1 + np.exp(-table["logit"])))
    table.to_parquet(folder / "detections.parquet")
    (folder / "seriesuids.csv").write_text("\n".join(reversed(uids)) + "\n")
    (folder / "detect.json").write_text(json.dumps({"out": str(folder), "pipeline": {"threshold": threshold}}))
    if truth is not None:
        settings = {"annotations": str(truth), "excluded": None, "n_bootstraps": 10, "seed": 3}
        (folder / "evaluation.json").write_text(json.dumps(settings))
    return folder


def test_two_detectors(tmp_path: Path, truth: Path) -> None:
    folders = {
        "good": detected(tmp_path / "good", truth, skill=3, uids=UIDS),
        "poor": detected(tmp_path / "poor_", truth, skill=-1, uids=UIDS, threshold=0.7),
    }
    report = compare_detection_folders(folders, n_bootstraps=200, seed=0)
    assert report.pairs[0].verdict.kind == "different"
    assert report.pairs[0].verdict.better == "good"
    assert report.counts == {"CT series": 30, "nodules": 15}
    assert [(s.key, s.values) for s in report.settings] == [("pipeline.threshold", ("0.5", "0.7"))]


def test_other_scans_and_no_annotations_are_refused(tmp_path: Path, truth: Path) -> None:
    one = detected(tmp_path / "one", truth, skill=3, uids=UIDS)
    fewer = detected(tmp_path / "fewer", truth, skill=3, uids=UIDS[:-2])
    with pytest.raises(TableError, match="searched different scans: 2 only by one"):
        compare_detection_folders({"one": one, "fewer": fewer}, n_bootstraps=20, seed=0)
    never = detected(tmp_path / "never", None, skill=3, uids=UIDS)
    with pytest.raises(RunError, match=r"^never \(.*\) was never compared with annotations"):
        compare_detection_folders({"one": one, "never": never}, n_bootstraps=20, seed=0)
