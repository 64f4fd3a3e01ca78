"""What `lungdet predict` refuses, and how scored points are written; scoring itself is in end_to_end."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

from lungdet.cli import predict


def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    GlobalHydra.instance().clear()
    monkeypatch.chdir(folder)
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "config.yaml").write_text("data: {crop: {}, window: {}, store: {}}\nmodel: {}\nseed: 0\n")
    monkeypatch.setattr(sys, "argv", ["predict.py", "run=run", *arguments])
    with pytest.raises(SystemExit, match="2"):
        predict.main()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=luna16"], "data=... without a list of points; add candidates="),
        ([], "has no candidates of its own; add data=... candidates="),
        (["candidates=[a.csv]"], "has no collection of its own; add data=luna16 data.root="),
        (["run=elsewhere"], "no run 'elsewhere'"),
    ],
)
def test_what_is_missing_is_said(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert expected in refused(tmp_path, monkeypatch, capsys, *arguments)


POINTS = pd.DataFrame(
    {
        "series_uid": ["1.2.3456789012", "1.2.3456789012"],
        "center_x_mm": [1.0, 2.0],
        "center_y_mm": [3.0, 4.0],
        "center_z_mm": [5.0, 6.0],
        "logit": pd.array([0.0, 100.0], dtype="float32"),
        "source": ["a.csv", "b.csv"],
    }
)


def test_points_are_written_highest_first_in_submission_format(tmp_path: Path) -> None:
    predict.write_points(POINTS, str(tmp_path / "new" / "scored.csv"))
    table = pd.read_csv(tmp_path / "new" / "scored.csv")
    assert list(table) == ["seriesuid", "coordX", "coordY", "coordZ", "probability", "logit", "source"]
    assert table["probability"].tolist() == [1.0, 0.5]
    assert table["source"].tolist() == ["b.csv", "a.csv"]


def test_without_a_file_the_highest_are_shown(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        predict.write_points(POINTS, None)
    assert "2 points scored; the highest:" in caplog.text
    assert "...56789012" in caplog.text


def test_points_of_several_files_keep_their_source(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("seriesuid,coordX,coordY,coordZ\n1.2,1,2,3\n")
    points = predict.read_points([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    assert points["source"].tolist() == ["a.csv", "b.csv"]
