"""Every label rule that exists is explained, and pages of nodules do not speak of candidates."""

from __future__ import annotations

import re
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.report import render_html
from lungdet.evaluation.results import ClassificationReport
from lungdet.evaluation.wording import CANDIDATES, DIAMETER_AUROC_BY_RULE, images, nodules, with_article, wording_of
from lungdet.io.lidc import MalignancyRule


@pytest.fixture(scope="module")
def rated() -> pd.DataFrame:
    """400 nodules of 40 patients, half of them test; malignant ones are larger and score higher within a size."""
    rng = np.random.default_rng(4)
    label, patient = rng.integers(0, 2, 400), rng.integers(0, 40, 400)
    diameter = np.exp(rng.normal(2.0, 0.3, 400) + 0.4 * label)
    return pd.DataFrame(
        {
            "series_uid": [f"1.2.{p}" for p in patient],
            "patient_id": [f"p{p:02d}" for p in patient],
            "candidate_id": range(400),
            "center_x_mm": 0.0,
            "center_y_mm": 0.0,
            "center_z_mm": 0.0,
            "label": label,
            "diameter_mm": diameter,
            "logit": (3 * np.log(diameter) - 6.5 + 2 * label + rng.normal(0, 1, 400)).astype(np.float32),
            "fold": 0,
            "partition": np.where(patient < 20, "val", "test"),
        }
    )


def report_of(table: pd.DataFrame, **given: Any) -> ClassificationReport:
    by_size = table.assign(logit=np.log(table["diameter_mm"]).astype(np.float32))
    return evaluate_classification(
        table,
        **{"title": "malignancy", "provenance": {}, **given},
        wording=nodules(("benign", "malignant"), "two_readers_4"),
        baselines={"diameter alone": by_size},
        n_resamples=200,
        n_gallery=2,
    )


def text_of(html: str) -> str:
    body = re.sub(r"<style>.*?</style>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


def test_every_rule_has_a_meaning_and_a_number() -> None:
    assert set(DIAMETER_AUROC_BY_RULE) == set(get_args(MalignancyRule))
    for rule in get_args(MalignancyRule):
        found = nodules(("benign", "malignant"), rule).rule
        assert found is not None
        assert "malignant" in found.meaning
    unknown = nodules(("benign", "malignant"), "mine").rule
    assert unknown is not None
    assert unknown.meaning == ""


def test_a_page_of_nodules_says_benign_and_malignant_and_the_rule(rated: pd.DataFrame) -> None:
    report = report_of(rated)
    text = text_of(render_html(report))
    assert "candidate" not in text.lower()
    assert "no nodule " not in text
    for sentence in (
        "Label rule two_readers_4 : a nodule is malignant if at least two readers rated it 4 or 5 of 5",
        "mean 0.82 , two_readers_4 0.92 , median 0.93 , extremes 0.97",
        f"A malignant nodule outranks a benign one {100 * report.ranking['test'].auroc.value:.1f} % of the time.",
        f"Diameter alone does so {100 * report.baselines[0].ranking.auroc.value:.1f} % of the time.",
        "Is it more than size?",
        "Do malignant nodules score higher than benign ones?",
        "AUROC within pairs of one size",
        "Highest-scored benign nodules",
        "Lowest-scored malignant nodules",
        "Observed share of malignant nodules",
    ):
        assert re.sub(r"\s", "", sentence) in re.sub(r"\s", "", text), sentence


def test_json_carries_rule_classes_pairs_baseline_and_difference(rated: pd.DataFrame) -> None:
    record = report_of(rated).to_dict()
    assert record["label_rule"]["name"] == "two_readers_4"
    assert record["classes"] == ["benign", "malignant"]
    matched = record["size_matched"]
    assert matched["n_pairs"] > 100
    assert matched["auroc"]["low"] < matched["auroc"]["value"] < matched["auroc"]["high"]
    assert matched["baselines"][0]["name"] == record["baselines"][0]["name"] == "diameter alone"
    assert matched["baselines"][0]["auroc_difference"]["low"] > 0
    assert record["baselines"][0]["auroc_difference"]["value"] > 0
    assert record["by_size"][1]["n_negatives"] > 0


def test_what_is_said_first_about_size(rated: pd.DataFrame) -> None:
    assert {f.code: f.kind for f in report_of(rated).findings}["size_matched_better"] == "good"
    rng = np.random.default_rng(0)
    size_only = rated.assign(logit=(rated["diameter_mm"] + rng.normal(0, 2, 400)).astype(np.float32))
    (finding,) = [f for f in report_of(size_only).findings if f.code.startswith("size_matched")]
    assert finding.code == "size_matched_chance"
    assert re.match(r"Within [\d,]+ pairs of one size \(diameters within 10 %\) the AUROC is 0\.\d+", finding.text)
    # Above one half, but no better than what is left of the diameter within the tolerance.
    pure = rated.assign(logit=rated["diameter_mm"].astype(np.float32))
    assert "size_matched_chance" in {f.code for f in report_of(pure).findings}
    apart = rated.assign(diameter_mm=np.where(rated["label"] == 1, 20.0, 5.0))
    assert "no_size_matched_pairs" in {f.code for f in report_of(apart).findings}
    assert "none: no two of one size and different class" in text_of(render_html(report_of(apart)))


def test_findings_use_the_words_of_the_run(rated: pd.DataFrame) -> None:
    shifted = {f.code: f.text for f in report_of(rated.assign(logit=rated["logit"] - 40.0)).findings}
    assert shifted["half_calls_nothing"].startswith("At 0.5 no nodule is called malignant, though AUROC")
    assert "of the nodules are malignant. That is usual" in shifted["miscalibrated"]
    above = {f.code: f.text for f in report_of(rated.assign(logit=rated["logit"] + 40.0)).findings}
    assert above["half_calls_all"].startswith("At 0.5 every nodule is called malignant")
    reversed_ = {f.code: f.text for f in report_of(rated.assign(logit=-rated["logit"])).findings}
    assert "malignant nodules score lower than benign ones" in reversed_["reversed"]


def test_patients_that_the_initial_weights_have_seen_are_named(rated: pd.DataFrame) -> None:
    def codes(**provenance: Any) -> dict[str, str]:
        found = report_of(rated, provenance=provenance).findings
        return {f.code: f.text for f in found if f.code.startswith("initial_weights")}

    assert codes() == {}
    assert codes(initial_weights="a.ckpt", seen_by_initial_weights=[]) == {}
    assert "Nobody knows" in codes(initial_weights="a.ckpt")["initial_weights_unknown"]
    leak = codes(initial_weights="a.ckpt", seen_by_initial_weights=["p01", "p02"])["initial_weights_leak"]
    assert leak.startswith(
        "2 patients of validation and test trained the network that this one started from (p01, p02)"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patch", "a patch"),
        ("image", "an image"),
        ("abnormal one", "an abnormal one"),
        ("X-ray", "an X-ray"),
        ("chest X-ray", "a chest X-ray"),
    ],
)
def test_articles(text: str, said: str) -> None:
    assert with_article(text) == said


def test_words_come_from_what_the_run_says_of_itself() -> None:
    assert wording_of({}) is CANDIDATES
    assert wording_of({"classes": ["non_nodule", "nodule"]}) is CANDIDATES
    rated = {"classes": ["benign", "malignant"], "label_rule": "median"}
    assert wording_of(rated) == nodules(("benign", "malignant"), "median")
    of_images = {"classes": ["normal", "tumor"], "item": "patch", "items": "patches", "label_rule": None}
    words = wording_of(of_images)
    assert words == images(("normal", "tumor"), item="patch", items="patches")
    assert (words.positive, words.another_negative, words.are_images) == ("tumor patch", "a normal one", True)
    assert words.audit.column == "Patches"
