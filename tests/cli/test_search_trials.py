"""Trials with real processes and a real SQLite study: pruned, failed, gone on with. They only write histories."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from lungdet.cli import search_trials
from lungdet.cli.search_trials import DIRECTORY, GOES_ON_WITH, Search
from lungdet.errors import RunError

# Stands for a training: one epoch a moment, `value` in each; then it ends as a training does, or with an error.
SCRIPT = """
import json, sys, time
from pathlib import Path
folder, value = Path(sys.argv[1]), sys.argv[2]
folder.mkdir(parents=True, exist_ok=True)
if value == "broken":
    sys.exit(2)
rows = ["epoch,seconds,val/auroc"]
for epoch in range(3 if float(value) > 0.5 else 1000):
    rows.append(f"{epoch},1,{value}")
    (folder / "history.partial").write_text("\\n".join(rows) + "\\n")
    (folder / "history.partial").replace(folder / "history.csv")
    time.sleep(0.05)
(folder / "provenance.json").write_text(json.dumps({"best_score": float(value)}))
"""


@pytest.fixture(autouse=True)
def quick_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(overrides: Sequence[str], run_directory: Path, *, cwd: Path) -> subprocess.Popen[bytes]:
        value = next(word for word in overrides if word.startswith("value=")).partition("=")[2]
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(run_directory), value])

    monkeypatch.setattr(search_trials, "start_training", start)
    monkeypatch.setattr(search_trials, "_POLL_S", 0.02)


def search(folder: Path, values: Sequence[str], **settings: Any) -> Search:
    """A search that is told to try the values in this order."""
    study = optuna.create_study(
        storage=f"sqlite:///{folder / 'study.db'}",
        direction="maximize",
        pruner=optuna.pruners.MedianPruner(n_startup_trials=1, n_warmup_steps=1),
    )
    for value in values:
        study.enqueue_trial({"value": value})
    space: dict[str, Any] = {"value": CategoricalDistribution(sorted({*values, "0.9", "0.1", "broken"}))}
    given: dict[str, Any] = {"n_trials": len(values), "monitor": "val/auroc", "mode": "max"} | settings
    return Search(
        study=study, space=space, overrides=[], folder=folder, cwd=folder,
        sampler=lambda n: optuna.samplers.RandomSampler(seed=n), **given,
    )  # fmt: skip


def states(of: Search) -> list[TrialState]:
    return [trial.state for trial in of.study.get_trials()]


def test_a_trial_that_is_worse_than_the_others_is_stopped(tmp_path: Path) -> None:
    """0.1 would go on for a thousand epochs; its second one is below the median of the first trial."""
    made = search(tmp_path, ["0.9", "0.1", "0.95"])
    made.run()
    assert states(made) == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert made.study.best_value == 0.95
    assert list(made.study.get_trials()[1].intermediate_values) == [0, 1]


def test_trials_beside_each_other(tmp_path: Path) -> None:
    made = search(tmp_path, ["0.6", "0.7", "0.8", "0.9"], jobs=2)
    started = time.monotonic()
    made.run()
    assert states(made) == [TrialState.COMPLETE] * 4
    assert time.monotonic() - started < 30
    assert sorted(p.name for p in tmp_path.glob("trial_*")) == [f"trial_{n:04d}" for n in range(4)]


def test_failures_are_counted_and_three_in_a_row_end_the_search(tmp_path: Path) -> None:
    made = search(tmp_path, ["broken", "0.9", "broken", "broken", "broken", "0.8"])
    with pytest.raises(RunError, match=r"3 trials in a row failed, the last: .*trial_0004 \(exit code 2\)"):
        made.run()
    assert states(made)[:5] == [TrialState.FAIL, TrialState.COMPLETE, *[TrialState.FAIL] * 3]


def test_an_interrupted_trial_goes_on_in_its_folder_and_counts_once(tmp_path: Path) -> None:
    made = search(tmp_path, ["0.9", "0.8"])
    left = made.study.ask(made.space)  # by a search that was killed
    left.set_user_attr(DIRECTORY, "trial_0000")
    made.run()
    trials = made.study.get_trials()
    assert [t.state for t in trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    again = next(t for t in trials if t.user_attrs.get(GOES_ON_WITH) == 0)
    assert again.params == trials[0].params == {"value": "0.9"}
    assert again.user_attrs[DIRECTORY] == "trial_0000"
    assert len(made.over()) == 2


def test_no_new_trial_after_the_deadline(tmp_path: Path) -> None:
    made = search(tmp_path, ["0.9", "0.8"], deadline=time.monotonic() - 1)
    made.run()
    assert made.over() == []
