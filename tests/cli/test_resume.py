"""Which calls make the same run, and what is left of a run that died before its first checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from lungdet.cli.resume import differences, refuse_another_run, resume_checkpoint
from lungdet.errors import RunError
from lungdet.training.run_directory import RunDirectory


def cfg_of(**values: object) -> DictConfig:
    return OmegaConf.create({"ckpt_path": "auto", "optim": {"lr": 0.1}, "data": {"crop": [1, 2]}, **values})


def test_where_it_starts_and_what_is_only_shown_do_not_count() -> None:
    a = cfg_of(evaluation={"n_resamples": 10}, callbacks={"progress": None}, trainer={"enable_progress_bar": True})
    b = cfg_of(evaluation={"n_resamples": 99}, callbacks={"progress": {"_target_": "x"}}, ckpt_path=None)
    b.trainer = {"enable_progress_bar": False}
    assert differences(a, b) == []


def test_every_other_key_counts_one_that_is_missing_too() -> None:
    a, b = cfg_of(seed=1, extra="x"), cfg_of(seed=2)
    b.data.crop = [1, 3]
    assert sorted(differences(a, b)) == [
        ("data.crop", "[1, 2]", "[1, 3]"), ("extra", "x", "null"), ("seed", "1", "2"),
    ]  # fmt: skip


def test_a_key_that_is_null_may_as_well_be_missing() -> None:
    assert differences(cfg_of(), cfg_of(clinical=None)) == []


def test_another_run_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    refuse_another_run(cfg_of(), run)  # an empty folder
    OmegaConf.save(cfg_of(**{f"k{n}": n for n in range(7)}), run.config)
    with pytest.raises(RunError, match=r"k0 is 0 there, null here; .*; and 2 more\. Give another folder"):
        refuse_another_run(cfg_of(), run)


def test_killed_in_its_first_epoch_it_starts_anew(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.checkpoints.mkdir()
    (run.checkpoints / "best.ckpt").write_bytes(b"of a state that nobody kept")
    assert resume_checkpoint(cfg_of(), run) is None
    assert not run.checkpoints.exists()
    run.checkpoints.mkdir()
    (run.checkpoints / "last.ckpt").write_bytes(b"x")
    assert resume_checkpoint(cfg_of(), run) == run.checkpoints / "last.ckpt"
