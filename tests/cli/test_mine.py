"""What `lungdet mine` scores and keeps of one scan, and which runs it refuses; mining itself is in end_to_end."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

from lungdet.cli import mine
from lungdet.data.background import NO_SPHERES, Spheres
from lungdet.geometry import Geometry
from lungdet.pipeline.hardest import Quota

CENTERS = ["center_x_mm", "center_y_mm", "center_z_mm"]


class AllLung:
    """A store of one scan of 40 mm a side."""

    def lung_mask(self, series_uid: str) -> npt.NDArray[np.uint8]:
        return np.ones((40, 40, 40), np.uint8)

    def geometry(self, series_uid: str) -> Geometry:
        return Geometry((40, 40, 40), (0, 0, 0), (1, 1, 1))


def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    GlobalHydra.instance().clear()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["mine.py", *arguments])
    with pytest.raises(SystemExit, match="2"):
        mine.main()
    return capsys.readouterr().err


def test_runs_without_patients_of_their_own_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text("data: {}\nmodel: {}\n")
    assert "no checkpoint 'best'" in refused(tmp_path, monkeypatch, capsys, "run=run")
    (run / "checkpoints" / "best.ckpt").write_bytes(b"")
    assert "has no training patients of its own" in refused(tmp_path, monkeypatch, capsys, "run=run")


def test_misspelt_and_impossible_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "expects one of 'auto', 'cpu', 'cuda'" in refused(tmp_path, monkeypatch, capsys, "device=tpu")
    assert "keep.per_scan=0 must be at least 1" in refused(tmp_path, monkeypatch, capsys, "keep.per_scan=0")
    said = refused(tmp_path, monkeypatch, capsys, "pool.minimum_distance_mm=-1", "batch_size=0")
    assert "2 problem(s)" in said


def test_listed_negatives_in_a_sphere_are_not_scored() -> None:
    listed = pd.DataFrame([[5, 5, 5.0], [30, 30, 30]], columns=CENTERS)
    avoid = Spheres(np.array([[6.0, 5, 5]]), np.array([3.0]))
    pool = mine.make_pool(AllLung(), "1.2", listed=listed, avoid=avoid, n_background=100, seed=0)
    assert pool["source"].value_counts().to_dict() == {"background": 100, "candidates": 1}
    assert pool[CENTERS].to_numpy()[-1].tolist() == [30, 30, 30]
    assert set(pool["series_uid"]) == {"1.2"}
    assert (np.linalg.norm(pool[CENTERS].to_numpy() - [6, 5, 5], axis=1) > 3).all()
    only = mine.make_pool(AllLung(), "1.2", listed=listed, avoid=NO_SPHERES, n_background=0, seed=0)
    assert only["source"].tolist() == ["candidates", "candidates"]
    none = mine.make_pool(AllLung(), "1.2", listed=None, avoid=NO_SPHERES, n_background=0, seed=0)
    assert len(none) == 0
    assert {*CENTERS, "source", "series_uid"} <= set(none)


def test_kept_rows_and_what_they_came_from() -> None:
    """Logits 2, 3, -3, 0.5: the first lies 2 mm from the second, the third is unlikely."""
    points = pd.DataFrame([[0, 0, 0.0], [2, 0, 0], [50, 0, 0], [90, 0, 0]], columns=CENTERS).assign(
        source=["background", "candidates", "background", "background"]
    )
    quota = Quota(per_scan=5, minimum_probability=0.2, suppression_mm=5)
    kept = mine.keep_hardest(points, np.array([2, 3, -3, 0.5], np.float32), quota)
    assert [row[:3] + row[4:] for row in kept["rows"]] == [[2, 0, 0, "candidates"], [90, 0, 0, "background"]]
    assert [row[3] for row in kept["rows"]] == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-0.5))])
    assert (kept["pool_background"], kept["pool_candidates"], kept["above_minimum"]) == (3, 1, 3)
