from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.errors import RunError
from lungdet.evaluation.predictions import check_predictions, read_predictions, write_predictions
from lungdet.training.ensembling import mean_predictions, member_of, merge_members, read_members
from lungdet.training.run_directory import RunDirectory


def table(logit: list[float], fold: int | list[int] = 0) -> pd.DataFrame:
    n = len(logit)
    columns = {
        "series_uid": [f"image{i}" for i in range(n)],
        "patient_id": [f"P{i}" for i in range(n)],
        "candidate_id": np.arange(n),
        **{f"center_{axis}_mm": 0.0 for axis in "xyz"},
        "label": [i % 2 for i in range(n)],
        "diameter_mm": np.nan,
        "logit": np.array(logit, np.float32),
        "fold": fold,
        "partition": ["val", "test"] * (n // 2),
    }
    return check_predictions(pd.DataFrame(columns))


def write_run(path: Path, logit: list[float], **provenance: Any) -> RunDirectory:
    run = RunDirectory(path)
    (path / "checkpoints").mkdir(parents=True)
    (path / "checkpoints/best.ckpt").write_bytes(path.name.encode())
    write_predictions(table(logit), run.predictions)
    write_predictions(table([0.5] * len(logit)), run.baseline)
    run.split.write_text("{}")
    facts = {"checkpoint": "checkpoints/best.ckpt", "classes": ["a", "b"], "split_hash": "5p", "seed": 1}
    run.write_json(run.provenance, {**facts, **provenance})
    return run


def test_the_mean_of_logits_not_of_probabilities() -> None:
    mean = mean_predictions([table([0.0, 8.0]), table([2.0, -1.0]), table([4.0, -1.0])])
    by_name = check_predictions(mean).set_index("series_uid")
    assert by_name["logit"].to_dict() == {"image0": 2.0, "image1": 2.0}
    assert by_name.loc["image0", "probability"] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)


def test_a_merged_cross_validation_is_no_member() -> None:
    with pytest.raises(RunError, match="a cross-validation has one network a fold: give the folds"):
        mean_predictions([table([0.0, 1.0], fold=[0, 1])] * 2)


def test_files_of_an_ensemble(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [0.0, 1.0], split_notes=["n"])
    two = write_run(tmp_path / "two", [1.0, 3.0], seed=2, split_notes=["n"], git_commit="x")
    members = [member_of(one), member_of(two)]
    both = RunDirectory(tmp_path / "both")
    merge_members(members, both, rows_are_shared=True)
    assert sorted(read_predictions(both.predictions)["logit"]) == [0.5, 2.0]
    assert both.baseline.is_file()
    assert both.split.is_file()
    provenance = both.read_provenance()
    assert (provenance["checkpoint"], provenance["split_hash"]) == ("ensemble.json", "5p")
    assert provenance["split_notes"] == ["n"]
    assert [m["seed"] for m in provenance["members"]] == [1, 2]
    assert read_members(both) == tuple(members)
    assert read_members(one) is None

    alone = RunDirectory(tmp_path / "alone")
    merge_members(members, alone, rows_are_shared=False)
    assert {path.name for path in alone.path.iterdir()} == {"ensemble.json", "provenance.json"}
    assert "split_hash" not in alone.read_provenance()


def test_members_of_different_classes_or_stores(tmp_path: Path) -> None:
    members = [
        member_of(write_run(tmp_path / "one", [0.0, 1.0])),
        member_of(write_run(tmp_path / "two", [0.0, 1.0], classes=["a", "c"])),
    ]
    with pytest.raises(RunError, match=r"the members differ in classes: .*'c'.*; an ensemble needs one"):
        merge_members(members, RunDirectory(tmp_path / "both"), rows_are_shared=False)
    assert not (tmp_path / "both").exists()


def test_what_is_no_member(tmp_path: Path) -> None:
    run = write_run(tmp_path / "one", [0.0, 1.0])
    (tmp_path / "one/checkpoints/best.ckpt").unlink()
    with pytest.raises(RunError, match="one has no checkpoint that scored its rows"):
        member_of(run)
    run.members.write_text(json.dumps([{"name": "a"}, {"name": "b"}]))
    with pytest.raises(RunError, match="one is an ensemble itself; give its members: a, b"):
        member_of(run)
    with pytest.raises(RunError, match=r"ensemble.json is damaged .*make it again: lungdet ensemble"):
        read_members(run)


def test_a_checkpoint_that_changed_or_is_gone(tmp_path: Path) -> None:
    members = [member_of(write_run(tmp_path / name, [0.0, 1.0])) for name in ("one", "two")]
    both = RunDirectory(tmp_path / "both")
    merge_members(members, both, rows_are_shared=False)
    (tmp_path / "two/checkpoints/best.ckpt").write_bytes(b"trained again")
    with pytest.raises(RunError, match=r"best.ckpt is not the checkpoint that the ensemble was made of"):
        read_members(both)
    (tmp_path / "two/checkpoints/best.ckpt").unlink()
    with pytest.raises(RunError, match=r"the checkpoint .*two/checkpoints/best.ckpt of a member is gone"):
        read_members(both)
