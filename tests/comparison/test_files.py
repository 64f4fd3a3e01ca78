"""The written comparison: same bytes twice, nothing from outside, its numbers shown, readable in a browser."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from tests.comparison.conftest import make_run
from tests.evaluation.conftest import synthetic_crop
from tests.pages import Page, assert_renders, assert_self_contained

from lungdet.comparison.classification import compare_classification
from lungdet.comparison.files import WrittenComparison, write_comparison
from lungdet.comparison.markdown import render_markdown
from lungdet.comparison.page import render_page
from lungdet.comparison.results import ComparisonReport
from lungdet.evaluation.page import number_text
from lungdet.evaluation.shown import crop_pictures


def compared() -> ComparisonReport:
    runs = [
        make_run("luna_cls", seed=1),
        make_run("luna_cls_<seed>_2", seed=2, settings={"optim": {"lr": 0.1}, "seed": 2, "model": {"_target_": "a|b"}}),
        make_run("noise", seed=3, skill=0.6, noise=1.5),
    ]
    return compare_classification(runs, load_pictures=crop_pictures(synthetic_crop), n_resamples=300, n_disagreements=2)


@pytest.fixture(scope="module")
def report() -> ComparisonReport:
    return compared()


@pytest.fixture(scope="module")
def written(report: ComparisonReport, tmp_path_factory: pytest.TempPathFactory) -> WrittenComparison:
    return write_comparison(report, tmp_path_factory.mktemp("comparison") / "new")


def test_repeated_it_is_the_same_to_the_byte(written: WrittenComparison, tmp_path: Path) -> None:
    again = write_comparison(compared(), tmp_path)
    for name in ("json", "html", "markdown"):
        assert getattr(again, name).read_bytes() == getattr(written, name).read_bytes()


def test_json_holds_every_number(written: WrittenComparison, report: ComparisonReport) -> None:
    record = json.loads(written.json.read_text())
    assert record["results"]["noise"]["auroc"]["value"] == pytest.approx(
        report.results["noise"]["auroc"].value, abs=1e-12
    )
    pair = record["pairs"][1]
    assert (pair["first"], pair["second"], pair["verdict"]["kind"]) == ("luna_cls", "noise", "different")
    assert set(pair["differences"]) == {measure.key for measure in report.measures}
    assert pair["delong"]["by_patient"]["p"] < 1e-6
    assert pair["mcnemar"]["max_f1"]["positives"]["only_first"] >= 0
    assert record["froc_at"]["noise"].keys() == {"0.125", "0.25", "0.5", "1", "2", "4", "8", "mean"}
    assert len(record["disagreements"]["positives"]) == 2
    assert record["thresholds"]["luna_cls"]["max_f1"]["chosen_on"] == "val"


def test_page_refers_to_nothing_outside_and_shows_the_numbers(
    written: WrittenComparison, report: ComparisonReport
) -> None:
    html = written.html.read_text()
    assert_self_contained(html)
    page = Page(html)
    for measure in report.measures:
        assert measure.title in page.text
        for name in report.names:
            assert number_text(report.results[name][measure.key].value, measure.digits) in page.text
    for pair in report.pairs:
        assert pair.verdict.text in page.text
    assert "luna_cls_<seed>_2" in page.text
    assert {"figure-roc", "figure-precision-recall", "figure-froc", "figure-learning-val-auroc"} <= set(page.ids)
    assert "optim.lr" in page.text
    assert page.tags["image"] == 3 * 4  # three views of two positives and two negatives


def test_page_renders(written: WrittenComparison, tmp_path: Path) -> None:
    assert_renders(written.html, tmp_path, width=1280, height=6400)


def test_markdown_has_tables_that_parse(report: ComparisonReport) -> None:
    text = render_markdown(report)
    lines = text.splitlines()
    heads = [i for i, line in enumerate(lines) if line.startswith("| --- |")]
    assert len(heads) >= 8
    for i in heads:
        columns = lines[i].count("|")
        rows = [line.replace("\\|", "") for line in (lines[i - 1], *lines[i + 1 :])]
        body = rows[: next((k for k, row in enumerate(rows) if not row.startswith("|")), len(rows))]
        assert len(body) >= 2
        assert {row.count("|") for row in body} == {columns}
    auroc = report.results["luna_cls"]["auroc"]
    assert f"| AUROC | {auroc.value:.3f} ({auroc.low:.3f}\u2013{auroc.high:.3f}) |" in text
    assert "luna_cls\\_\\<seed>\\_2" in text
    assert "model.\\_target\\_" in text


def test_two_runs_have_one_verdict_as_the_headline_and_no_correction() -> None:
    report = compare_classification([make_run("a"), make_run("b", seed=1)], n_resamples=100)
    page = Page(render_page(report))
    assert page.text.count("Holm") == 0
    assert page.text.count(report.pairs[0].verdict.text) == 2
    assert "Holm" not in render_markdown(report)
    assert "Pictures are left out: no pixels were handed to the comparison." in page.text


def test_many_runs_fold_their_pairs_away() -> None:
    report = compare_classification([make_run(f"run_{i}", seed=i) for i in range(5)], n_resamples=50)
    html = render_page(report)
    assert "<details open>" not in html
    assert html.count("<details>") == 10
    assert 'class="tiles"' not in html
    assert_self_contained(html)


def test_runs_without_configuration_and_history() -> None:
    bare = [dataclasses.replace(make_run(name), settings={}, history=None) for name in "ab"]
    page = Page(render_page(compare_classification(bare, n_resamples=50)))
    assert "Nothing, as far as the configurations are known." in page.text
    assert "figure-learning-val-auroc" not in page.ids
