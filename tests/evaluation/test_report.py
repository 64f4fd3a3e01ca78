"""The written report: same bytes twice, nothing from outside, every number shown, readable in a real browser."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.pages import Page, assert_renders, assert_self_contained, browse

from lungdet.errors import StoreError
from lungdet.evaluation.calibration import fit_calibration
from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.predictions import check_predictions
from lungdet.evaluation.report import render_html, write_report
from lungdet.evaluation.report_files import WrittenReport
from lungdet.evaluation.results import ClassificationReport

EN_DASH, MINUS = "\u2013", "\u2212"
HISTORY = pd.DataFrame({"epoch": [0, 1, 2], "train/loss": [0.6, 0.4, 0.3], "val/auroc": [0.7, 0.85, 0.84]})
PROVENANCE = {
    "run": "2024-01-01/luna_cls",
    "checkpoint": "epoch 1, by val/auroc on validation",
    "split": {"hash": "7c0ffee", "fold": 0},
    "subsets": [0, 1],
    "git commit": None,
    "note": "<script>alert(1)</script>",
}


def evaluated(table: pd.DataFrame, load_pictures: Any, *, shuffled: bool = False) -> ClassificationReport:
    rng = np.random.default_rng(9)
    weak = table.assign(logit=(rng.normal(-4, 1, len(table)) + table["label"]).astype(np.float32))
    return evaluate_classification(
        table.sample(frac=1, random_state=1) if shuffled else table,
        title="luna_cls on simulated scans",
        provenance=PROVENANCE,
        calibration=fit_calibration(check_predictions(table), "platt"),
        baselines={"mean HU and size": weak},
        load_pictures=load_pictures,
        history=HISTORY,
        n_resamples=200,
        n_gallery=2,
    )


@pytest.fixture(scope="module")
def report(simulate: Callable[..., pd.DataFrame], load_pictures: Any) -> ClassificationReport:
    return evaluated(simulate(), load_pictures)


@pytest.fixture(scope="module")
def written(report: ClassificationReport, tmp_path_factory: pytest.TempPathFactory) -> WrittenReport:
    return write_report(report, tmp_path_factory.mktemp("run") / "new")


@pytest.fixture(scope="module")
def page(written: WrittenReport) -> Page:
    return Page(written.html.read_text(encoding="utf-8"))


def test_twice_the_same_bytes(written: WrittenReport, simulate: Any, load_pictures: Any, tmp_path: Path) -> None:
    second = write_report(evaluated(simulate(), load_pictures, shuffled=True), tmp_path)
    for name in ("json", "curves", "html"):
        assert getattr(second, name).read_bytes() == getattr(written, name).read_bytes()


def test_json_is_sorted_strict_and_complete(report: ClassificationReport, written: WrittenReport) -> None:
    text = written.json.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    record = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(record) == sorted(record)
    assert record == report.to_dict()
    assert record["seed"] == 0
    assert record["n_resamples"] == 200


def test_curves_file_holds_all_curves(report: ClassificationReport, written: WrittenReport) -> None:
    curves = pd.read_parquet(written.curves)
    pd.testing.assert_frame_equal(curves, report.curves, check_dtype=False)
    assert set(curves["model"]) == {"model", "mean HU and size"}


def test_page_refers_to_nothing_outside_itself(written: WrittenReport, page: Page) -> None:
    assert_self_contained(written.html.read_text(encoding="utf-8"))
    assert page.references
    assert all(link.startswith("#") for link in page.links)


def test_sections_can_be_linked_to(page: Page) -> None:
    targets = {link.removeprefix("#") for link in page.links}
    assert {"ranking", "operating-points", "calibration", "galleries", "provenance"} <= targets
    assert page.tags["h1"] == 1


def test_page_shows_the_numbers(report: ClassificationReport, page: Page) -> None:
    auroc = report.ranking["test"].auroc
    assert f"{auroc.value:.3f}" in page.text
    assert f"{auroc.low:.3f}{EN_DASH}{auroc.high:.3f}" in page.text
    assert f"A nodule outranks another candidate {100 * auroc.value:.1f} % of the time." in page.text
    for finding in report.findings:
        assert finding.text in page.text
    for word in ("luna_cls on simulated scans", "mean HU and size", "7c0ffee", "epoch 1, by val/auroc on validation"):
        assert word in page.text
    assert "No leak found: no patient and no series is in both validation and test" in page.text
    assert "split.fold" in page.text
    assert "0, 1" in page.text
    assert "unknown" in page.text  # the git commit that nobody knows


def test_provenance_is_text_never_markup(written: WrittenReport) -> None:
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in written.html.read_text(encoding="utf-8")


def test_three_views_of_every_shown_candidate(page: Page, written: WrittenReport) -> None:
    assert page.tags["image"] == 3 * 2 * 3
    text = written.html.read_text(encoding="utf-8")
    views = re.findall(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)" role="img" aria-label="(\w+) view">', text)
    assert Counter(plane for _, _, plane in views) == {"axial": 6, "coronal": 6, "sagittal": 6}
    assert {(width, height) for width, height, _ in views} == {("63", "63")}  # mm: 31 to each side and the centre
    assert f"{MINUS}1,000 to 400 HU" in page.text
    assert text.count("h10") == 18  # a scale bar of 10 mm in a view box in mm


def test_without_pixels_the_page_says_why(predictions: pd.DataFrame) -> None:
    kwargs: dict[str, Any] = {"title": "t", "provenance": {}, "n_resamples": 20, "n_gallery": 1}
    plain = Page(render_html(evaluate_classification(predictions, **kwargs)))
    assert "Pictures are left out: no pixels were handed to the evaluation." in plain.text
    told = evaluate_classification(predictions, no_pictures_because="the store was deleted", **kwargs)
    assert "Pictures are left out: the store was deleted." in Page(render_html(told)).text

    def broken(row: Any) -> Any:
        raise StoreError(f"series {row['series_uid']} is <missing>")

    partly = Page(render_html(evaluate_classification(predictions, load_pictures=broken, **kwargs)))
    assert partly.tags["image"] == 0
    assert "No picture: series 1.3.6.1.4.1.14519.5.2.1.6279.6001." in partly.text
    assert "is <missing>" in partly.text


@pytest.mark.parametrize(
    "case", ["no test", "no val", "no positives", "no negatives", "one patient", "one row", "equal"]
)
def test_corners_are_pages_too(predictions: pd.DataFrame, case: str) -> None:
    table = {
        "no test": predictions.assign(partition="val"),
        "no val": predictions.assign(partition="test"),
        "no positives": predictions.assign(label=0, diameter_mm=np.nan),
        "no negatives": predictions.assign(label=1),
        "one patient": predictions[predictions["patient_id"] == "LIDC-IDRI-0020"],
        "one row": predictions.iloc[[-1]],
        "equal": predictions.assign(logit=0.0),
    }[case]
    calibration = fit_calibration(check_predictions(table), "platt")
    report = evaluate_classification(
        table, title=case, provenance={}, calibration=calibration, baselines={"b": table}, n_resamples=20
    )
    page = Page(render_html(report))
    assert not re.search(r"\bnan\b", page.text)
    expected = {
        "no test": "The thresholds were chosen on these same candidates",
        "no val": "not chosen: no rows in val",
        "no positives": "No answer yet: no positives in test.",
        "no negatives": "No answer yet: no negatives in test.",
        "one patient": "positives in one patient only",
        "one row": "No answer yet",
        "equal": "A nodule outranks another candidate 50.0 % of the time.",
    }
    assert expected[case] in page.text
    assert ("Not calibrated:" in page.text) == (case != "no test")


def test_the_page_says_what_was_calibrated_and_where(report: ClassificationReport, page: Page) -> None:
    fit = report.calibrator.fits[0]  # type: ignore[union-attr]
    text = page.text
    assert "Platt scaling turns the network's logit into such a chance. It was fitted on validation" in text
    assert f"{fit.n_rows} candidates, {fit.n_positives} nodules" in text
    assert f"sigmoid({fit.calibrator.slope:.4f} · logit" in text  # type: ignore[union-attr]
    for title in ("Validation, before", "Validation, after", "Test, before", "Test, after", "calibrated"):
        assert title in text
    for value in (report.calibration["test"], report.calibrated["test"]):
        assert f"{value.brier.value:.4f} {value.brier.low:.4f}{EN_DASH}{value.brier.high:.4f}" in text
    assert {"figure-reliability", "figure-reliability-calibrated"} <= set(page.ids)
    assert "figure-folds" not in page.ids


@pytest.mark.parametrize("method", ["none", "temperature", "isotonic"])
def test_other_calibrations_are_described_too(predictions: pd.DataFrame, method: Any) -> None:
    calibration = None if method == "none" else fit_calibration(check_predictions(predictions), method)
    made = evaluate_classification(
        predictions, title="t", provenance={}, calibration=calibration, n_resamples=20, n_gallery=1
    )
    expected = {"none": "calibration is switched off", "temperature": "sigmoid(logit / ", "isotonic": " knots."}
    assert expected[method] in Page(render_html(made)).text


def test_folds_stand_side_by_side(simulate: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    base = simulate()
    third = base["patient_id"].str[-4:].astype(int) % 3
    tables = [
        base[third != (fold + 2) % 3].assign(
            fold=fold, partition=np.where(third[third != (fold + 2) % 3] == fold, "test", "val")
        )
        for fold in range(3)
    ]
    table = pd.concat([t.assign(logit=t["logit"] + np.float32(fold)) for fold, t in enumerate(tables)])
    made = evaluate_classification(
        table,
        title="three folds",
        provenance={},
        calibration=fit_calibration(check_predictions(table), "platt"),
        n_resamples=50,
        n_gallery=1,
    )
    written = write_report(made, tmp_path / "folds")
    html = written.html.read_text(encoding="utf-8")
    assert_self_contained(html)
    page = Page(html)
    assert {"folds", "figure-folds"} <= set(page.ids)
    assert made.folds is not None
    spread = made.folds.spread["auroc"]
    assert f"{spread.mean:.3f} ({spread.sd:.3f})" in page.text
    for fold in made.folds.folds:
        assert (
            f"Fold {fold.fold} {fold.patients} {fold.candidates} {fold.positives} {fold.auroc.value:.3f}" in page.text
        )
    assert len(json.loads(written.json.read_text())["folds"]["folds"]) == 3
    assert "for each fold on the validation rows of that fold" in page.text


def test_a_leak_is_on_the_page(predictions: pd.DataFrame) -> None:
    predictions.loc[predictions["patient_id"] == "LIDC-IDRI-0003", "partition"] = "test"
    predictions.loc[predictions.index[predictions["patient_id"] == "LIDC-IDRI-0003"][0], "partition"] = "val"
    page = Page(render_html(evaluate_classification(predictions, title="t", provenance={}, n_resamples=20)))
    assert "1 patient (LIDC-IDRI-0003) in validation and test of the same fold" in page.text
    assert "No leak" not in page.text


def test_saturated_probabilities_are_written_so_that_they_can_be_told_apart(predictions: pd.DataFrame) -> None:
    spread = predictions.assign(logit=(predictions["logit"] * 5 + 20).astype(np.float32))
    page = Page(render_html(evaluate_classification(spread, title="t", provenance={}, n_resamples=20)))
    assert re.search(rf"1 {MINUS} \d\.\de-\d\d", page.text)
    assert re.search(r"\d\.\de-\d\d", page.text)


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1300, 500])
def test_the_page_renders(written: WrittenReport, tmp_path: Path, width: int) -> None:
    assert_renders(written.html, tmp_path, width=width, height=4000)


def test_the_headline_is_in_the_document(report: ClassificationReport, written: WrittenReport, tmp_path: Path) -> None:
    dom = browse(written.html, tmp_path, "--dump-dom")
    assert "<h1>luna_cls on simulated scans</h1>" in dom
    assert f'<div class="value">{report.ranking["test"].auroc.value:.3f}</div>' in dom
