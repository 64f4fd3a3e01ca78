"""The page: one file that refers to nothing outside, with numbers a reader can check against froc.json."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.pages import assert_self_contained

from lungdet.evaluation.froc_figures import PAGE_FPS, froc_figure
from lungdet.evaluation.froc_page import render_froc_page
from lungdet.evaluation.froc_report import Rival, froc_record
from lungdet.metrics.froc import FrocResult, evaluate_froc
from lungdet.metrics.froc_bootstrap import PairedDifference

CENTER = ["center_x_mm", "center_y_mm", "center_z_mm"]


def simulated(n_nodules: int, *, found: float, n_bootstraps: int = 50) -> FrocResult:
    """Nodules 100 mm apart in 20 series, the given share of them marked, and 200 false marks."""
    rng = np.random.default_rng(5)
    uids = [f"1.2.3.{i:02d}" for i in range(20)]
    nodules = pd.DataFrame({"series_uid": [uids[i % 20] for i in range(n_nodules)]}, dtype=str)
    nodules = nodules.assign(**dict.fromkeys(CENTER, 0.0), diameter_mm=rng.uniform(3, 30, n_nodules))
    nodules["center_x_mm"] = 100.0 * np.arange(n_nodules)
    hits = nodules.loc[rng.random(n_nodules) < found, ["series_uid", *CENTER]]
    false = pd.DataFrame({"series_uid": [uids[i] for i in rng.integers(0, 20, 200)]}, dtype=str)
    false = false.assign(**dict.fromkeys(CENTER, -500.0))
    marks = pd.concat(
        [hits.assign(probability=rng.beta(4, 2, len(hits))), false.assign(probability=rng.beta(2, 4, 200))]
    )
    return evaluate_froc(nodules, nodules.iloc[:0], uids, marks, n_bootstraps=n_bootstraps)


@pytest.fixture(scope="module")
def result() -> FrocResult:
    return simulated(80, found=0.8)


def render(result: FrocResult, **options: Any) -> str:
    figure = froc_figure({"mine <b>": result}, fps=PAGE_FPS)
    return render_froc_page(froc_record(result, name="mine <b>", **options), nodules=result.nodules, figure=figure)


def test_nothing_outside_is_needed(result: FrocResult) -> None:
    page = render(result)
    assert_self_contained(page)
    assert len(page) < 400_000


def test_the_name_is_escaped(result: FrocResult) -> None:
    page = render(result)
    assert "<h1>mine &lt;b&gt;</h1>" in page
    assert "<b>" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


def test_the_numbers_are_those_of_the_record(result: FrocResult) -> None:
    page = render(result, provenance={"lungdet": "9.9", "submission": {"file": "s.csv", "sha256": "abc"}})
    assert f'<div class="value">{result.cpm:.3f}</div>' in page
    assert f"{result.counts.true_positives} of 80 nodules are marked at all" in page
    assert "false positives per scan over all 20 listed series" in page
    assert "<th>submission</th><td>s.csv, abc</td>" in page
    assert "<th>lungdet</th><td>9.9</td>" in page


def test_missed_nodules_largest_first(result: FrocResult) -> None:
    lost = result.nodules[result.nodules["n_hits"] == 0].sort_values("diameter_mm", ascending=False)
    section = render(result).split('id="missed"')[1]
    assert re.findall(r"<td>(1\.2\.3\.\d\d)</td>", section) == lost["series_uid"].tolist()
    assert "Largest first." in section


def test_only_the_largest_of_many_missed_nodules_are_shown() -> None:
    page = render(simulated(70, found=0, n_bootstraps=0))
    assert "The largest 50 of 70; all stand in nodulesWithoutCandidate_" in page
    assert "<p>None.</p>" not in page


def test_a_detector_that_misses_nothing() -> None:
    assert "<p>None.</p>" in render(simulated(10, found=1, n_bootstraps=0))


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (PairedDifference(0.03, 0.01, 0.05, 0.0), "The interval excludes 0"),
        (PairedDifference(-0.03, -0.05, -0.01, 1.0), "\u22120.030"),
        (PairedDifference(0.03, -0.01, 0.05, 0.1), "these scans do not tell the two apart"),
        (PairedDifference(0.03, float("nan"), float("nan"), float("nan")), "<strong>+0.030</strong></p>"),
    ],
)
def test_a_comparison_says_what_its_interval_means(
    result: FrocResult, difference: PairedDifference, words: str
) -> None:
    assert words in render(result, rival=Rival("other", result, difference))


def test_undefined_resamples_are_mentioned() -> None:
    few = simulated(1, found=1)
    assert few.bootstrap is not None
    assert few.bootstrap.n_undefined > 0
    assert f"{few.bootstrap.n_undefined} of them hold no nodule and are left out" in render(few)


@pytest.mark.parametrize("make", [lambda: simulated(0, found=1), lambda: simulated(0, found=1, n_bootstraps=0)])
def test_a_page_without_nodules(make: Callable[[], FrocResult]) -> None:
    page = render(make())
    assert "no sensitivity to report" in page
    assert not re.search(r"\bnan\b", page, flags=re.IGNORECASE)
