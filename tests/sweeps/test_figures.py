"""Dots, intervals and axes of sweeps of a few runs, read back from the figures."""

from __future__ import annotations

import math
from typing import Any

import pytest
from matplotlib.axes import Axes

from lungdet.evaluation.estimates import Estimate
from lungdet.sweeps.figures import metric_name, run_label, runs_figure, settings_figure
from lungdet.sweeps.table import Status, SweepRun, SweepTable, sweep_table


def run(name: str, score: float, *, status: Status = "finished", val: Any = None, **settings: str) -> SweepRun:
    estimates = {("val", "auroc"): val or Estimate(score, score - 0.1, score + 0.1)} if status == "finished" else {}
    return SweepRun(name, settings, status, score=score, estimates=estimates)


def table(*runs: SweepRun) -> SweepTable:
    return sweep_table(runs, title="t", monitor="val/auroc", mode="max", leading="auroc")


def dots(axes: Axes) -> list[tuple[Any, Any]]:
    dotted = (line for line in axes.lines if line.get_marker() == "o")
    return [(x, y) for line in dotted for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]  # type: ignore[arg-type]


def texts(labels: list[Any]) -> list[str]:
    return [label.get_text() for label in labels]


def test_the_best_run_is_on_top_validation_above_test() -> None:
    second = SweepRun("1", {"lr": "2"}, "finished", score=0.7, estimates={("test", "auroc"): Estimate(0.65)})
    (axes,) = runs_figure(table(second, run("0", 0.8, lr="1"))).axes
    assert texts(axes.get_yticklabels()) == ["lr 1", "lr 2"]
    assert axes.get_ylim() == (1.5, -0.5)
    shown = [dot for dot in dots(axes) if not math.isnan(dot[0])]
    assert shown == [pytest.approx((0.8, -0.14)), pytest.approx((0.65, 1.14))], "what a run has not is not drawn"
    intervals = [list(line.get_xdata()) for line in axes.lines if line.get_marker() != "o"]  # type: ignore[arg-type]
    assert intervals == [pytest.approx([0.7, 0.9])], "0.65 has none"
    assert axes.get_xlabel() == "AUROC, 95 % interval"
    legend = axes.get_legend()
    assert legend is not None
    assert texts(list(legend.get_texts())) == ["validation", "test"]


def test_at_most_forty_runs_are_drawn_and_none_that_failed() -> None:
    runs = [run(str(n), 0.5 + n / 1000, lr=str(n)) for n in range(41)]
    (axes,) = runs_figure(table(*runs, run("x", math.nan, status="failed", lr="x"))).axes
    assert texts(axes.get_yticklabels()) == [f"lr {n}" for n in range(40, 0, -1)]


def test_nothing_finished_is_an_empty_figure() -> None:
    (axes,) = runs_figure(table(run("0", 0.5, status="pruned", lr="1"))).axes
    assert dots(axes) == []
    assert axes.get_legend() is None


def test_far_numbers_are_on_a_logarithmic_axis() -> None:
    """From a factor of more than 20 on, and only where all are above 0."""
    for values, scale in (
        (("1", "20"), "linear"),
        (("1", "21"), "log"),
        (("0", "21"), "linear"),
        (("-1", "3"), "linear"),
    ):
        figure = settings_figure(table(*(run(v, 0.5, lr=v) for v in values)))
        assert figure is not None
        assert figure.axes[0].get_xscale() == scale, values


def test_words_stand_in_a_row_in_the_order_of_the_runs() -> None:
    figure = settings_figure(table(run("0", 0.9, net="unet"), run("1", 0.8, net="a very long name"), run("2", 0.7)))
    assert figure is not None
    (axes,) = figure.axes
    assert texts(axes.get_xticklabels()) == ["unet", "a very long name", ""], "the third has no such setting"
    assert axes.get_xticklabels()[0].get_rotation() == 20
    assert sorted(dots(axes)) == [(0, 0.9), (1, 0.8), (2, 0.7)]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("net", "best val/auroc")


def test_stopped_runs_have_a_colour_of_their_own() -> None:
    figure = settings_figure(table(run("0", 0.9, lr="1"), run("1", 0.8, status="pruned", lr="2")))
    assert figure is not None
    stopped, finished = figure.axes[0].lines
    assert list(stopped.get_ydata()) == [0.8]  # type: ignore[arg-type]
    assert list(finished.get_ydata()) == [0.9]  # type: ignore[arg-type]
    assert stopped.get_color() != finished.get_color()


def test_four_settings_take_two_rows_and_seeds_none() -> None:
    runs = [run(v, 0.5, a=v, b=v, c=v, d=v, seed=v) for v in "12"]
    figure = settings_figure(table(*runs))
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes] == ["a", "b", "c", "d"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["best val/auroc", "", "", "best val/auroc"]


@pytest.mark.parametrize(
    "runs",
    [
        (),
        (run("0", 0.5, lr="1"),),
        (run("0", 0.5, lr="1"), run("1", math.nan, lr="2")),
        (run("0", 0.5, seed="1"), run("1", 0.6, seed="2")),
    ],
)
def test_without_two_scores_or_a_setting_there_is_none(runs: tuple[SweepRun, ...]) -> None:
    assert settings_figure(table(*runs)) is None


def test_names() -> None:
    assert run_label(SweepRun("7", {"optim.lr": "1", "b": "2"}, "finished"), ["optim.lr", "none"]) == "lr 1"
    assert run_label(SweepRun("7", {}, "finished"), ["optim.lr"]) == "7"
    assert metric_name("dice") == "Dice, whole scans"
    assert metric_name("brier") == "brier"
