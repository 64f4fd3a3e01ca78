"""Which folds are trained, and with which words; whole cross-validations run in `end_to_end/test_cv`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lungdet.cli import cv
from lungdet.cli.application import launch
from lungdet.cli.cv import chosen_folds, train_folds
from lungdet.errors import ConfigError

KFOLD = {"_target_": "lungdet.data.splits.GroupedKFold", "n_folds": 4}


def config(folds: object = None, **split: object) -> DictConfig:
    return OmegaConf.create({"split": split or KFOLD, "folds": folds})


@pytest.mark.parametrize(("folds", "trained"), [(None, [0, 1, 2, 3]), ([2], [2]), ([3, 0], [3, 0])])
def test_all_folds_or_those_that_are_named(folds: list[int] | None, trained: list[int]) -> None:
    assert chosen_folds(config(folds)) == trained


@pytest.mark.parametrize("folds", [[4], [-1, 0], [], [1, 1]])
def test_folds_that_are_not_there_none_and_twice(folds: list[int]) -> None:
    with pytest.raises(ConfigError) as refused:
        chosen_folds(config(folds))
    assert refused.value.problems == [f"folds: {folds}: give some of 0..3, each once, or null for all"]


def test_a_split_without_folds_says_which_have_some() -> None:
    with pytest.raises(
        ConfigError, match=r"^split: Holdout has no folds; type split=grouped_kfold split\.n_folds=5, or"
    ):
        chosen_folds(config(_target_="lungdet.data.splits.Holdout"))


def test_folds_are_one_multirun_of_train_without_what_train_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(cv, "launch", lambda root, run: launched.append((root, list(sys.argv))))
    typed = ["model=luna_cls", "folds=[0,2]", "++out=x", "out=y", "+data.out=z", "outer=1", "trainer.max_epochs=1"]
    monkeypatch.setattr(sys, "argv", ["cv.py", *typed])
    train_folds(tmp_path / "a b", [0, 2])
    ((root, argv),) = launched
    assert root == "train"
    assert Path(argv[0]).name == "train.py"
    assert argv[1:6] == ["-m", "model=luna_cls", "+data.out=z", "outer=1", "trainer.max_epochs=1"]
    assert argv[6:8] == ["split.fold=0,2", "ckpt_path=auto"]
    assert argv[8].startswith("hydra.sweep.dir=")
    assert str(tmp_path / "a b") in argv[8]
    assert argv[9:] == ["hydra.sweep.subdir=fold${split.fold}"]


def test_folds_on_a_cluster_need_nothing_of_the_login_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no GPU, and nothing has started two nodes on it; the jobs are checked where they run."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(cv, "_plans", [])
    cluster = ["cv.py", f"paths.root={tmp_path}", "split=grouped_kfold", "split.n_folds=2", "trainer=gpu"]
    cluster += ["trainer.num_nodes=2", "hydra/launcher=submitit_slurm"]
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", cluster)
    launch("cv", cv.plan)
    ((out, folds, _),) = cv._plans
    assert (out, folds) == (tmp_path / "runs" / "cv_phantom_luna_cls", [0, 1])
