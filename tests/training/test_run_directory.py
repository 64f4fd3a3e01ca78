"""Which run a person means, and what a run says about itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lungdet.errors import RunError
from lungdet.training.run_directory import RunDirectory, find_run


def make_run(folder: Path, *files: str, age: int = 0) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
        os.utime(folder / name, (1_000_000 - age, 1_000_000 - age))
    return folder


def test_latest_is_the_newest_that_holds_the_file(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "predictions.parquet", age=10)
    make_run(tmp_path / "sweep" / "0", "predictions.parquet", age=5)
    make_run(tmp_path / "b", "config.yaml")
    assert find_run("latest", tmp_path, holding="predictions.parquet").path == tmp_path / "sweep" / "0"
    assert find_run("latest", tmp_path).path == tmp_path / "b"


def test_latest_by_a_file_in_a_folder(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "checkpoints/last.ckpt")
    assert find_run("latest", tmp_path, holding="checkpoints/last.ckpt").path == tmp_path / "a"


def test_a_run_by_name_or_path(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "config.yaml")
    assert find_run("a", tmp_path).path == tmp_path / "a"
    assert find_run(str(tmp_path / "a"), Path("elsewhere")).path == tmp_path / "a"


def test_errors_say_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run with config\.yaml below .*; make one: python train\.py"):
        find_run("latest", tmp_path)
    make_run(tmp_path / "a", "config.yaml")
    with pytest.raises(RunError, match=r"no run 'b'; the newest below .*: a; or run=latest"):
        find_run("b", tmp_path)
    with pytest.raises(RunError, match=r"holds no predictions\.parquet: not a run directory, or the run ended before"):
        find_run("a", tmp_path, holding="predictions.parquet")


def test_checkpoints_by_word_and_by_path(tmp_path: Path) -> None:
    run = RunDirectory(make_run(tmp_path / "a", "checkpoints/best.ckpt"))
    assert run.checkpoint("best") == run.checkpoints / "best.ckpt"
    assert run.checkpoint("best.ckpt") == run.checkpoints / "best.ckpt"
    assert run.checkpoint(str(run.checkpoints / "best.ckpt")) == run.checkpoints / "best.ckpt"
    with pytest.raises(RunError, match=r"no checkpoint 'last' in .*; there: best"):
        run.checkpoint("last")


def test_json_is_written_whole_and_read_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert run.read_provenance() == {}
    run.write_json(run.provenance, {"b": 1, "a": [1, 2]})
    assert run.read_provenance() == {"a": [1, 2], "b": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["provenance.json"]
