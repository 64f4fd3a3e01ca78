"""Runs on whole images: no scans on the page, the images where they disagree, and both kinds of specificity."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_curve
from tests.evaluation.conftest import simulated_images, synthetic_image
from tests.pages import Page, assert_renders, assert_self_contained

from lungdet.comparison.classification import compare_classification
from lungdet.comparison.files import write_comparison
from lungdet.comparison.markdown import render_markdown
from lungdet.comparison.page import render_page
from lungdet.comparison.results import ComparisonReport
from lungdet.comparison.runs import ComparedRun
from lungdet.comparison.same_rows import check_same_rows, check_same_task
from lungdet.errors import TableError
from lungdet.evaluation.predictions import check_predictions
from lungdet.evaluation.shown import image_pictures
from lungdet.evaluation.wording import wording_of

PROVENANCE = {
    "classes": ["normal", "tumor"],
    "item": "patch",
    "items": "patches",
    "split_hash": "7c0ffee",
    "fold": None,
}
FOREIGN = re.compile(r"candidate|scan|series|nodule|\bHU\b|crop|\bCT\b|\bmm\b|diameter|plane|FROC", re.I)


def make_run(name: str, *, seed: int, noise: float, patients_known: bool = True) -> ComparedRun:
    table = simulated_images(patients_known=patients_known)
    rng = np.random.default_rng(seed)
    logit = table["logit"] + rng.normal(0, noise, len(table))
    return ComparedRun(
        name, check_predictions(table.assign(logit=logit.astype(np.float32))), PROVENANCE, {"seed": seed}
    )


def compared(*, patients_known: bool = True, **given: Any) -> ComparisonReport:
    runs = [
        make_run("transfer", seed=1, noise=0.1, patients_known=patients_known),
        make_run("patch_cnn", seed=2, noise=2.0, patients_known=patients_known),
    ]
    return compare_classification(
        runs,
        wording=wording_of(runs[0].provenance),
        load_pictures=image_pictures(lambda row: synthetic_image(row, channels=3)),
        n_resamples=200,
        n_disagreements=2,
        **given,
    )


@pytest.fixture(scope="module")
def report() -> ComparisonReport:
    return compared()


def test_nothing_is_said_of_scans(report: ComparisonReport, tmp_path: Path) -> None:
    written = write_comparison(report, tmp_path)
    html = written.html.read_text()
    assert_self_contained(html)
    assert [m.group() for m in FOREIGN.finditer(Page(html).text)] == []
    assert [m.group() for m in FOREIGN.finditer(written.markdown.read_text())] == []
    assert list(report.counts) == ["patients", "patches", "tumor patches"]
    assert report.froc_at == {}
    assert set(report.curves["curve"]) == {"roc", "precision_recall"}
    assert_renders(written.html, tmp_path, width=1300, height=3500)


def test_the_images_on_which_they_disagree(report: ComparisonReport) -> None:
    html = render_page(report)
    worst = report.disagreements["positives"][0]
    assert Page(html).tags["image"] == 4
    assert f'aria-label="{worst.row["series_uid"]}"' in html
    assert f"patient {worst.row['patient_id']} ·" in Page(html).text
    assert worst.row["series_uid"] in render_markdown(report)


def test_specificity_on_the_curve_is_compared_in_pairs(report: ComparisonReport) -> None:
    table = make_run("patch_cnn", seed=2, noise=2.0).predictions
    table = table[table["partition"] == "test"]
    false_rate, true_rate, _ = roc_curve(table["label"], table["logit"], drop_intermediate=False)
    expected = 1 - false_rate[true_rate >= 0.97 - 1e-12].min()
    key = "roc_specificity_recall_97"
    assert report.results["patch_cnn"][key].value == pytest.approx(expected)
    difference = report.pairs[0].differences[key].estimate
    assert difference.value == pytest.approx(expected - report.results["transfer"][key].value)
    assert difference.low < difference.value < difference.high
    assert "Specificity where the ROC curve reaches sensitivity 0.97" in Page(render_page(report)).text
    assert "recall ≥ 0.97" in Page(render_page(report)).text


def test_other_recalls() -> None:
    report = compared(recalls=[0.8])
    assert list(report.thresholds["transfer"]) == ["recall_80", "max_f1"]
    assert "Sensitivity at recall ≥ 0.8" in Page(render_page(report)).text
    json.dumps(report.to_dict(), allow_nan=False)


def test_unknown_patients_are_not_counted() -> None:
    report = compared(patients_known=False)
    assert list(report.counts) == ["patches", "tumor patches"]
    assert report.unit == "patches"
    assert "paired by patch" in report.pairs[0].verdict.text
    assert "Every difference, on the same patches" in Page(render_page(report)).text


def test_refusals_name_images() -> None:
    one = make_run("a", seed=1, noise=0.1)
    test = one.predictions.index[one.predictions["partition"] == "test"]
    fewer = ComparedRun("b", one.predictions.drop(index=test[:3]), PROVENANCE)
    with pytest.raises(TableError) as refused:
        check_same_rows([one, fewer], "test")
    said = str(refused.value)
    assert "3 of" in said
    assert re.search(r"rows only in a: patch train/\w+/person\d+_\d+\.jpeg, patch ", said)
    assert "Score both with the same split, fold, patches and label rule" in said
    with pytest.raises(TableError, match="a: normal or tumor patches; b: normal or tumor tiles"):
        check_same_task([one, ComparedRun("b", one.predictions, PROVENANCE | {"items": "tiles"})])
