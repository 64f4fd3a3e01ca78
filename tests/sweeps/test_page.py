"""What the files of a sweep say, and that the page stands alone."""

from __future__ import annotations

import math
from pathlib import Path

from tests.pages import Page

from lungdet.evaluation.estimates import Estimate
from lungdet.sweeps.figures import run_label, settings_figure
from lungdet.sweeps.page import markdown, write_sweep
from lungdet.sweeps.table import SweepRun, SweepTable, sweep_table


def example() -> SweepTable:
    runs = [
        SweepRun(
            str(n),
            {"optim.lr": lr, "scheduler": schedule},
            "finished",
            score=0.7 + 0.05 * n,
            estimates={("val", "auroc"): Estimate(0.8, 0.7, 0.9), ("test", "auroc"): Estimate(0.75, 0.6, 0.85)},
            epochs=4,
            seconds=90,
        )
        for n, (lr, schedule) in enumerate([("1e-4", "step"), ("1e-3", "cosine"), ("1e-2", "plateau")])
    ]
    runs.append(SweepRun("3", {"optim.lr": "9", "scheduler": "step"}, "failed", reason="ConfigError: <no> & never"))
    return sweep_table(runs, title="lr & schedule", monitor="val/auroc", mode="max", leading="auroc")


def test_the_page_stands_alone_and_shows_every_run(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "report.html").write_text("x")
    text = write_sweep(example(), tmp_path).read_text()
    page = Page(text)
    assert all(reference.startswith("#") for reference in page.references)
    assert "2/report.html" in page.links
    assert "0/report.html" not in page.links
    assert "Best val/auroc: 0.800, with optim.lr=1e-2, scheduler=plateau." in page.text
    assert "failed: ConfigError: <no> & never" in page.text
    assert {"figure-runs", "figure-settings"} <= set(page.ids)
    assert {p.name for p in tmp_path.iterdir()} >= {"sweep.csv", "sweep.json", "sweep.md", "sweep.html"}


def test_the_same_runs_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_sweep(example(), tmp_path).read_bytes()
    assert write_sweep(example(), tmp_path).read_bytes() == first


def test_markdown_is_a_table_of_the_runs() -> None:
    lines = markdown(example()).splitlines()
    assert lines[2] == "| run | optim.lr | scheduler | best val/auroc | val AUROC | test AUROC |"
    assert lines[4].startswith("| 2 | 1e-2 | plateau | 0.800 | 0.800 (0.700\u20130.900) | 0.750 (0.600\u20130.850) |")
    assert "| failed |" in lines[-1]


def test_numbers_stand_on_a_number_line_and_words_in_a_row() -> None:
    figure = settings_figure(example())
    assert figure is not None
    rate, schedule = figure.axes
    assert rate.get_xscale() == "log"
    assert [label.get_text() for label in schedule.get_xticklabels()] == ["plateau", "cosine", "step"]


def test_a_single_run_has_no_settings_to_compare() -> None:
    one = sweep_table(example().runs[:1], title="t", monitor="val/auroc", mode="max", leading="auroc")
    assert settings_figure(one) is None
    assert run_label(one.runs[0], one.swept) == "2"


def test_an_empty_sweep_still_has_a_page(tmp_path: Path) -> None:
    empty = sweep_table([SweepRun("0", {}, "unfinished")], title="t", monitor="val/auroc", mode="max", leading="auroc")
    assert "No run has finished yet." in Page(write_sweep(empty, tmp_path).read_text()).text
    assert math.isnan(empty.runs[0].score)
