"""The report of whole images: its words, its pictures, the points on its curve, its files, and how it looks."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.evaluation.conftest import simulated_images, synthetic_image
from tests.pages import Page, assert_renders, assert_self_contained

from lungdet.evaluation.calibration import fit_calibration
from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.page import interval_text
from lungdet.evaluation.predictions import check_predictions
from lungdet.evaluation.report import render_html, write_report
from lungdet.evaluation.report_files import WrittenReport
from lungdet.evaluation.results import ClassificationReport
from lungdet.evaluation.shown import image_pictures
from lungdet.evaluation.wording import images

# None of these is there to speak of.
FOREIGN = re.compile(
    r"candidate|scan|series|nodule|\bHU\b|crop|\bCT\b|\bmm\b|diameter|voxel|plane|cross-hair|of this size", re.I
)
CLASSES = ("normal", "pneumonia")


def counts(n: int) -> dict[str, Any]:
    return {"patients": n // 2, "series": n, "rows": n, "labels": {"normal": n - 2 * n // 3, "pneumonia": 2 * n // 3}}


def audit_record(*, copy_in: str = "train") -> dict[str, Any]:
    """What `lungdet.training.leak_audit` writes of images, with two pixel-identical ones."""
    members = [("a.jpeg", "p1", "train"), ("b.jpeg", "p2", copy_in)]
    named = [dict(zip(("series_uid", "patient_id", "partition"), member, strict=True)) for member in members]
    return {
        "fold": None,
        "classes": list(CLASSES),
        "partitions": {"train": counts(900), "val": counts(90), "test": counts(210)},
        "shared_patients": {},
        "shared_series": {},
        "equal_pixels": [{"pixel_hash": "c0ffee", "crosses_partitions": copy_in != "train", "scans": named}],
        "scans_hashed": 1200,
        "scans_of_one_value": ["black.jpeg"],
        "extra_negatives": [],
    }


def evaluated(table: pd.DataFrame, *, channels: int = 1, **given: Any) -> ClassificationReport:
    rng = np.random.default_rng(5)
    poor = table.assign(logit=(rng.normal(0, 1, len(table)) + 0.5 * table["label"]).astype(np.float32))
    arguments: dict[str, Any] = {
        "wording": images(CLASSES, item="chest X-ray", items="chest X-rays"),
        "leak_audit": audit_record(),
        "load_pictures": image_pictures(lambda row: synthetic_image(row, channels=channels)),
        "n_gallery": 3,
    }
    return evaluate_classification(
        table,
        title="chest_xray_finetune",
        provenance={"checkpoint_chosen_on": "val", "split_notes": ["The shipped validation part joins training."]},
        calibration=fit_calibration(check_predictions(table), "platt"),
        baselines={"grey levels": poor, "logistic regression on the frozen backbone's features": table},
        n_resamples=100,
        **(arguments | given),
    )


@pytest.fixture(scope="module")
def report() -> ClassificationReport:
    return evaluated(simulated_images())


@pytest.fixture(scope="module")
def written(report: ClassificationReport, tmp_path_factory: pytest.TempPathFactory) -> WrittenReport:
    return write_report(report, tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def html(written: WrittenReport) -> str:
    return written.html.read_text(encoding="utf-8")


def test_nothing_is_said_of_scans(html: str, report: ClassificationReport) -> None:
    assert_self_contained(html)
    found = [m.group() for m in FOREIGN.finditer(Page(html).text)]
    assert found == []
    assert {"size", "figure-size", "size-matched"} & set(Page(html).ids) == set()
    assert report.by_size == ()
    assert report.size_matched is None


@pytest.mark.parametrize("case", ["no test", "no val", "no positives", "unknown patients", "nothing recorded", "leak"])
def test_corners_speak_of_images_too(case: str) -> None:
    table = simulated_images(patients_known=case != "unknown patients")
    table = {
        "no test": table.assign(partition="val"),
        "no val": table.assign(partition="test"),
        "no positives": table.assign(label=0),
    }.get(case, table)
    given: dict[str, dict[str, Any]] = {
        "nothing recorded": {"leak_audit": None, "load_pictures": None},
        "leak": {"leak_audit": audit_record(copy_in="test")},
    }
    report = evaluated(table, **given.get(case, {}))
    text = Page(render_html(report)).text
    assert [m.group() for m in FOREIGN.finditer(text)] == []
    assert not re.search(r"\bnan\b", text)
    said = {
        "leak": "chest X-ray a.jpeg of patient p1 (training) and chest X-ray b.jpeg of patient p2 (test). The network "
        "has trained on patients it is judged on, for equal pixels under two names are one chest X-ray: keep both in "
        "one partition, or take one out.",
        "unknown patients": "Nobody knows which chest X-rays are of one patient",
        "nothing recorded": "Pictures are left out: no pixels were handed to the evaluation.",
        "no val": "not chosen: no rows in val",
        "no positives": "none: no positives",
        "no test": "The thresholds were chosen on these same chest X-rays",
    }
    assert said[case] in text


def test_the_sentences(report: ClassificationReport, html: str) -> None:
    text = Page(html).text
    test, called = report.counts["test"], report.operating_points["recall_90"].on["test"].confusion
    for sentence in (
        f"Pneumonia or normal · test · {test.patients} patients, {test.candidates} chest X-rays",
        f"A pneumonia chest X-ray outranks a normal one {100 * report.ranking['test'].auroc.value:.1f} % of the time.",
        f"chosen on validation for a recall of 0.9, {called.tp} of {called.tp + called.fn} pneumonia chest X-rays are "
        f"called ({100 * called.recall:.0f} %), and {called.fp} of {called.fp + called.tn} normal ones "
        f"({100 * (1 - called.specificity):.0f} %).",
        "Each row is a whole chest X-ray; its label, normal or pneumonia, is the collection's.",
        "no patient and no chest X-ray is in two partitions, and no two of 1,200 chest X-rays in different partitions",
        "1 group of chest X-rays under several patient ids has the same pixels",
        "Partition Patients Chest X-rays normal pneumonia Training 450 900 300 600",
        "Patients and chest X-rays are compared by id, chest X-rays also by a hash of their pixels",
        "1 of one single value (empty) are left out of it",
        "About the split: The shipped validation part joins training.",
        "The model beats the baseline 'grey levels'",
        "The model is not measurably better than the baseline 'logistic regression on the frozen backbone's features'",
        "A chest X-ray is called when",
        "Highest-scored normal chest X-rays",
    ):
        assert sentence in text, sentence


def test_both_specificities_are_shown_and_told_apart(report: ClassificationReport, html: str) -> None:
    text, record = Page(html).text, report.to_dict()
    on, read = report.operating_points["recall_97"].on["test"], report.roc_points["recall_97"]
    start = text.index("Sensitivity of at least")
    row = text[start : text.index("Each resample reads", start)]
    for value in (on.recall, on.specificity, read.specificity):
        assert f"{value.value:.3f} {interval_text(value)}" in row
    assert row.index(f"{on.specificity.value:.3f}") < row.rindex(f"{read.specificity.value:.3f}")
    assert record["roc_points"]["recall_97"]["specificity"]["value"] == pytest.approx(read.specificity.value)
    assert record["recalls"] == {"recall_90": 0.9, "recall_97": 0.97}
    assert "words" not in record["audit"]


def test_a_recall_asked_for_is_the_one_quoted() -> None:
    report = evaluated(simulated_images(), recalls=[0.8])
    assert report.headline == "recall_80"
    assert list(report.roc_points) == ["recall_80"]
    text = Page(render_html(report)).text
    assert "chosen on validation for a recall of 0.8" in text
    assert "Thresholds Validation largest F1, Youden's J, recall of 0.8" in text
    assert "Recall ≥ 0.8" in text
    assert "0.97" not in [point.threshold.rule for point in report.operating_points.values()]


def test_unknown_patients_are_not_counted() -> None:
    report = evaluated(simulated_images(patients_known=False))
    text = Page(render_html(report)).text
    assert f"Pneumonia or normal · test · {report.counts['test'].candidates} chest X-rays" in text
    assert "paired by chest X-ray)" in text
    assert "Partition Chest X-rays Pneumonia chest X-rays Prevalence" in text
    assert "with the same chest X-rays drawn for both" in text
    assert "no patient" not in text


# --- pictures -------------------------------------------------------------------------------------------------------


def pictures_of(html: str) -> list[np.ndarray]:
    addresses = re.findall(r'<image href="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(address)))) for address in addresses]


@pytest.mark.parametrize("channels", [1, 3])
def test_each_card_shows_the_image_as_it_is(channels: int) -> None:
    report = evaluated(simulated_images(), channels=channels)
    shown = pictures_of(render_html(report))
    expected = [synthetic_image(item.row, channels=channels) for gallery in report.galleries for item in gallery.items]
    assert len(shown) == len(expected) == 3 * 6
    for one, other in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_card_names_image_and_patient(report: ClassificationReport, html: str) -> None:
    row = report.galleries[0].items[0].row
    assert f"patient {row['patient_id']} {row['series_uid']}" in Page(html).text
    assert f'aria-label="chest X-ray {row["series_uid"]}"' in html


def test_files_twice_the_same(report: ClassificationReport, written: WrittenReport, tmp_path: Path) -> None:
    assert sorted(written.pictures) == ["false_negatives", "false_positives"]
    again = write_report(report, tmp_path)
    for name, path in written.pictures.items():
        assert path.name == f"{name}.png"
        assert again.pictures[name].read_bytes() == path.read_bytes()
        assert np.asarray(Image.open(path)).std() > 20
    assert again.json.read_bytes() == written.json.read_bytes()


@pytest.mark.parametrize("width", [1300, 500])
def test_the_page_renders(written: WrittenReport, tmp_path: Path, width: int) -> None:
    assert_renders(written.html, tmp_path, width=width, height=4000)
