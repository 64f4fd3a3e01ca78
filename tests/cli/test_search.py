"""What a search refuses before it begins, and that a folder holds one search; whole ones run in `end_to_end`."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from optuna import Study, create_study
from optuna.distributions import FloatDistribution
from optuna.pruners import MedianPruner, NopPruner
from optuna.study import StudyDirection
from optuna.trial import create_trial

from lungdet.cli import search as module
from lungdet.cli.search import STUDY, check, open_study, prepare, refuse_another_search
from lungdet.config import conf_folder
from lungdet.errors import ConfigError, RunError

SPACE: dict[str, Any] = {"optim.lr": FloatDistribution(1e-4, 1e-2, log=True)}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("search", overrides=list(overrides))


def test_everything_wrong_is_told_together() -> None:
    with pytest.raises(ConfigError) as refused:
        check(composed("n_trials=0", "jobs=-1", "ckpt_path=last", "callbacks.checkpoint=null"))
    assert refused.value.problems == [
        "n_trials: must be at least 1, got 0",
        "jobs: must be at least 1, got -1",
        "ckpt_path: last: every trial goes on where it was interrupted; leave it null",
        "callbacks.checkpoint: null; a search needs its monitor to compare trials",
    ]


def test_a_folder_holds_one_search(tmp_path: Path) -> None:
    settings = {"typed": ["model=luna_cls"], "space": {"optim.lr": "a"}}
    refuse_another_search(tmp_path, settings)
    assert json.loads((tmp_path / "search.json").read_text()) == settings
    refuse_another_search(tmp_path, settings)
    with pytest.raises(RunError, match=r"holds another search: space was .*'a'.*, is .*'b'.*\. Give another folder"):
        refuse_another_search(tmp_path, {**settings, "space": {"optim.lr": "b"}})
    assert json.loads((tmp_path / "search.json").read_text()) == settings, "as it was"


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study without a file, which takes a second to make."""

    def opened(out: Path, pruner: Any, direction: str) -> Study:
        return create_study(study_name=STUDY, pruner=pruner, direction=direction)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "open_study", opened)


def test_what_is_typed_becomes_a_study(tmp_path: Path, in_memory: None) -> None:
    cfg = composed("n_trials=3", "jobs=2", "search_seed=7", "startup_trials=4", "prune_after=2")
    search = prepare(cfg, SPACE, ["model=luna_cls"], tmp_path / "out", cwd=tmp_path)
    assert (search.n_trials, search.jobs, search.deadline) == (3, 2, math.inf)
    assert (search.monitor, search.mode) == (cfg.callbacks.checkpoint.monitor, cfg.callbacks.checkpoint.mode)
    assert search.overrides == ["model=luna_cls"]
    assert search.folder == tmp_path / "out"
    assert search.study.direction == StudyDirection.MAXIMIZE
    pruner = search.study.pruner
    assert isinstance(pruner, MedianPruner)
    assert (pruner._n_startup_trials, pruner._n_warmup_steps) == (4, 1), "after two epochs one has been left alone"


def test_limits_and_no_pruning(tmp_path: Path, in_memory: None) -> None:
    search = prepare(composed("timeout_min=2", "prune_after=null"), SPACE, [], tmp_path, cwd=tmp_path)
    assert isinstance(search.study.pruner, NopPruner)
    assert 110 < search.deadline - time.monotonic() <= 120


def test_proposals_depend_on_the_seed_and_on_how_many_trials_there_are(tmp_path: Path, in_memory: None) -> None:
    """So that an interrupted search goes on as it would have."""
    one, same, other = (
        prepare(cfg, SPACE, [], tmp_path, cwd=tmp_path)
        for cfg in (composed("search_seed=1"), composed("search_seed=1"), composed("search_seed=2"))
    )
    proposed = [s.sampler(n)._rng.rng.random() for s, n in ((one, 0), (same, 0), (one, 1), (other, 0))]
    assert proposed[0] == proposed[1]
    assert len(set(proposed)) == 3


def test_a_study_is_opened_again(tmp_path: Path) -> None:
    first = open_study(tmp_path, NopPruner(), "maximize")
    assert (tmp_path / "study.db").is_file()
    first.add_trial(create_trial(value=0.5))
    again = open_study(tmp_path, NopPruner(), "maximize")
    assert again.study_name == STUDY
    assert [trial.value for trial in again.trials] == [0.5]
