"""The section "Leak audit" of a page: verdict, partitions, copies and choices; of one fold, of several, of a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests.pages import Page, assert_renders, assert_self_contained

from lungdet.evaluation.audit import audit_of_split, merge_audits
from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.page import EN_DASH
from lungdet.evaluation.report import render_html

CHOSEN = {"checkpoint_chosen_by": "best val/auroc", "checkpoint_chosen_on": "val"}


def recorded(fold: int | None, *groups: dict[str, Any]) -> dict[str, Any]:
    counts = {"patients": 16, "series": 17, "rows": 1300, "labels": {"nodule": 30, "other": 1270}}
    return {
        "fold": fold,
        "classes": ["other", "nodule"],
        "partitions": {"train": counts | {"patients": 1234}, "val": counts, "test": counts},
        "shared_patients": {},
        "shared_series": {},
        "equal_pixels": list(groups),
        "scans_hashed": 51,
        "scans_of_one_value": [],
        "extra_negatives": [],
    }


COPY: dict[str, Any] = {
    "pixel_hash": "0123456789abcdef",
    "crosses_partitions": True,
    "scans": [
        {"series_uid": "2.25." + "7" * 59, "patient_id": "<A&B>", "partition": "train"},
        {"series_uid": "2.25." + "8" * 59, "patient_id": "LIDC-IDRI-0009", "partition": "test"},
    ],
}


def page(predictions: pd.DataFrame, record: dict[str, Any] | None) -> str:
    report = evaluate_classification(
        predictions, title="audited", provenance=CHOSEN, leak_audit=record, n_resamples=20, n_gallery=0
    )
    return render_html(report)


def section(html: str) -> str:
    start = html.index('<h2 id="leak-audit">')
    return Page(html[start : html.index("<h2", start + 1)]).text


def test_a_clean_run(predictions: pd.DataFrame) -> None:
    html = page(predictions, recorded(0))
    assert_self_contained(html)
    text = section(html)
    assert "No leak found: no patient and no series is in two partitions, and no two of 51 scans" in text
    assert "Partition Patients CT series Rows other nodule Training 1,234 17 1,300 1,270 30" in text
    assert "Checkpoint Validation best val/auroc Thresholds Validation largest F1" in text
    assert "Scans with the same pixels" not in text
    assert '<p class="verdict">' in html


def test_a_leak_is_named_in_the_section_and_read_first(predictions: pd.DataFrame, tmp_path: Path) -> None:
    html = page(predictions, recorded(0, COPY))
    assert_self_contained(html)
    assert "<A&B>" not in html, "escaped"
    text = section(html)
    assert text.count("LEAK: the same pixels in different partitions") == 1
    assert f"<A&B> {COPY['scans'][0]['series_uid']} Training 0123456789ab" in text
    first = html[html.index('<ul class="findings">') : html.index("</li>")]
    assert "Caution." in first
    assert "The network has trained on patients it is judged on" in first
    (tmp_path / "report.html").write_text(html)
    # As narrow as Chromium makes a window: long UIDs have to wrap.
    assert_renders(tmp_path / "report.html", tmp_path, width=500, height=6000)


def test_folds_beside_each_other(predictions: pd.DataFrame) -> None:
    swapped = predictions.assign(fold=1, partition=predictions["partition"].map({"val": "test", "test": "val"}))
    text = section(page(pd.concat([predictions, swapped]), merge_audits([recorded(0), recorded(1, COPY)])))
    assert re.search(r"Fold Training, patients CT series .* 0 1,234 17 16 17 16 17 1 1,234 17 16 17", text)
    assert "LEAK" in text


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "This run left neither audit.json nor split.json"),
        (audit_of_split({"train": ["x"], "val": ["y"], "test": ["z"], "fold": None}), "This run left no audit.json"),
    ],
)
def test_what_was_not_looked_at_is_said(predictions: pd.DataFrame, record: dict[str, Any] | None, said: str) -> None:
    html = page(predictions, record)
    assert_self_contained(html)
    assert said in section(html)
    unknown = f"Training 1 {EN_DASH} {EN_DASH}"
    assert (unknown in section(html)) == (record is not None)
