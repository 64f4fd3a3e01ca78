"""Best first, whatever the order and direction; replicates put together; files without NaN."""

from __future__ import annotations

import json
import math

import pytest

from lungdet.evaluation.estimates import Estimate
from lungdet.sweeps.table import SweepRun, sweep_table


def run(name: str, score: float, *, status: str = "finished", test: float = 0.7, **settings: str) -> SweepRun:
    known: dict[str, str] = {"optim": "adamw", **settings}
    made: SweepRun = SweepRun(
        name, known, status, score=score,  # type: ignore[arg-type]
        estimates={("test", "auroc"): Estimate(test, test - 0.1, test + 0.1)}, epochs=3, seconds=60.0,
    )  # fmt: skip
    return made


def table_of(*runs: SweepRun, mode: str = "max"):  # type: ignore[no-untyped-def]
    return sweep_table(runs, title="a sweep", monitor="val/auroc", mode=mode, leading="auroc")  # type: ignore[arg-type]


def test_best_first_then_stopped_then_failed() -> None:
    runs = [
        run("0", 0.7, lr="1"),
        run("1", 0.99, status="pruned", lr="2"),
        run("2", math.nan, status="failed", lr="3"),
        run("3", 0.8, lr="4"),
        run("4", math.nan, lr="5"),
    ]
    table = table_of(*runs)
    assert [r.name for r in table.runs] == ["3", "0", "4", "1", "2"]
    assert table.best is not None
    assert table.best.name == "3"
    assert [r.name for r in table_of(*runs, mode="min").runs][:3] == ["0", "3", "4"]


def test_equally_good_runs_stay_in_their_order() -> None:
    names = [str(n) for n in range(8, 12)]
    assert [r.name for r in table_of(*(run(name, 0.7, lr=name) for name in names)).runs] == names


def test_only_what_differs_is_swept() -> None:
    assert table_of(run("0", 0.7, lr="1"), run("1", 0.8, lr="2")).swept == ("lr",)
    assert table_of(run("0", 0.7), run("1", 0.8, model="r3d18")).swept == ("model",), "one has it, one has not"


def test_replicates_are_put_together() -> None:
    """Setting a: .6 and .8 (mean .7, SD .1414); b: .65 alone. The failed seed counts for nothing."""
    table = table_of(
        run("0", 0.6, model="a", seed="0", test=0.5),
        run("1", 0.8, model="a", seed="1", test=0.7),
        run("2", 0.65, model="b", seed="0"),
        run("3", math.nan, model="b", seed="1", status="failed"),
    )
    first, second = table.grouped
    assert first.settings == {"model": "a"}
    assert (first.n, first.mean, first.low, first.high) == (2, pytest.approx(0.7), 0.6, 0.8)
    assert first.sd == pytest.approx(math.sqrt(0.02))
    assert first.test_mean == pytest.approx(0.6)
    assert (second.n, second.mean) == (1, 0.65)
    assert math.isnan(second.sd)
    assert table_of(run("0", 0.7, lr="1"), run("1", 0.8, lr="2")).grouped == ()


def test_nothing_finished_has_no_best() -> None:
    table = table_of(run("0", math.nan, status="failed"), run("1", math.nan, status="unfinished", lr="1"))
    assert table.best is None
    assert json.loads(json.dumps(table.to_dict(), allow_nan=False))["runs"][0]["score"] is None


def test_the_frame_has_a_row_a_run_and_ends_of_intervals() -> None:
    frame = table_of(run("0", 0.7, lr="1"), run("1", 0.8, lr="2")).frame()
    assert frame["run"].tolist() == ["1", "0"]
    assert frame["lr"].tolist() == ["2", "1"]
    assert frame.loc[0, ["test_auroc", "test_auroc_low", "test_auroc_high"]].tolist() == pytest.approx([0.7, 0.6, 0.8])
