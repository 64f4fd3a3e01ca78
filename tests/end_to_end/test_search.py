"""A search over real training processes: resumed after an interruption, pruned, ended with a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

Command = Callable[..., None]


def test_a_search_goes_on_and_ends_with_a_table(
    workplace: Path, lungdet: Command, tiny_training: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    out = workplace / "runs" / "search"
    words = [
        *tiny_training, f"paths.root={workplace}", "trainer.max_epochs=2", "sweep=space", "startup_trials=1",
        "prune_after=1", f"out={out}",
    ]  # fmt: skip
    lungdet("search", *words, "n_trials=2")
    study = optuna.load_study(study_name="lungdet", storage=f"sqlite:///{out / 'study.db'}")
    assert len(study.trials) == 2
    assert set(study.trials[0].params) == {"optim.lr", "optim.weight_decay", "scheduler"}
    assert 1e-5 <= study.trials[0].params["optim.lr"] <= 1e-2

    # A trial that a killed search left behind: it goes on in its folder, and counts once.
    study.ask({"optim.lr": optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)})
    study.ask()
    lungdet("search", *words, "n_trials=3")
    table = pd.read_csv(out / "sweep.csv")
    assert len(table) == 3
    assert set(table["status"]) <= {"finished", "pruned"}
    assert (out / "sweep.html").exists()
    assert "to train the best again: lungdet train" in capsys.readouterr().out
    best = study.best_trial
    row = table[table["run"] == best.user_attrs["directory"]].iloc[0]
    assert row["val/auroc"] == pytest.approx(best.value)
    assert float(row["optim.lr"]) == pytest.approx(best.params["optim.lr"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "sweep: nothing to search; name a file with ranges: sweep=space"),
        (["sweep=space", "n_trials=0"], "n_trials: must be at least 1, got 0"),
        (["sweep=space", "optim=nope"], "optim: there is no option 'nope'; allowed: adamw, "),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(
    words: list[str], message: str, workplace: Path, lungdet: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        lungdet("search", *words, f"out={workplace}/runs/none")
    assert message in capsys.readouterr().err
    assert not (workplace / "runs" / "none").exists()
