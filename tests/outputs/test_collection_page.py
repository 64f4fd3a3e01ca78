"""index.html of a batch: every scan once, failures with their reason, honest about what was not judged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.outputs.detection_examples import UID, VERSIONS, detections_of, scan_of, unjudged
from tests.pages import Page

from lungdet.outputs.collection_page import ScanRow, scan_row, write_collection_page
from lungdet.outputs.record import detection_record, write_record

NAN = float("nan")
FROC = {
    "cpm": 0.8417,
    "sensitivity_at": {"0.125": 0.7, "1": 0.9, "8": None},
    "bootstrap": {"cpm": {"low": 0.81, "high": 0.87}},
    "denominator": {"statement": "false positives per scan over all 3 listed series; sensitivity over 7 nodules"},
}


def row(uid: str, score: float, n_nodules: int = 0, *, report: str = "", notes: tuple[str, ...] = ()) -> ScanRow:
    return ScanRow(uid, score, NAN, 1234, n_nodules, 2.0, notes, report)


def write(path: Path, rows: list[ScanRow], **options: object) -> tuple[str, Page]:
    text = write_collection_page(rows, path / "index.html", title="subset <3>", **options).read_text(encoding="utf-8")  # type: ignore[arg-type]
    return text, Page(text)


def test_the_row_of_a_record_fresh_or_read_back(tmp_path: Path) -> None:
    scan = scan_of()
    detections = detections_of(scan, malignancy=True)
    fresh = scan_row(detection_record(detections, scan, versions=VERSIONS), report="a/report.html")
    path = write_record(detections, scan, tmp_path / "d.json", versions=VERSIONS)
    assert scan_row(json.loads(path.read_text()), report="a/report.html") == fresh
    score = float(detections.table["probability"].max())
    malignancy = float(detections.table["malignancy_probability"].max())
    assert fresh == ScanRow(UID, score, malignancy, 4, 3, 4.75, ("look twice",), "a/report.html")


def test_a_record_without_an_answer_read_back(tmp_path: Path) -> None:
    path = write_record(unjudged(), scan_of(), tmp_path / "d.json", versions={})
    back = scan_row(json.loads(path.read_text()))
    assert not back.is_judged
    assert back.notes == ("no lungs found",)


def test_most_suspicious_first_unjudged_last(tmp_path: Path) -> None:
    rows = [row("1.1", 0.2), row("1.2", NAN, notes=("no lungs found",)), row("1.3", 0.99, 3), row("1.4", 0.0)]
    text, page = write(tmp_path, rows, failures={"1.5": "truncated: <12> bytes"})
    assert re.findall(r'<td class="uid">(1\.\d)', text) == ["1.3", "1.1", "1.4", "1.2"]
    assert "1 of 5 scans holds a finding at the threshold, 1 could not be judged, 1 failed." in page.text
    assert "no lungs found" in page.text
    assert "1.5 truncated: <12> bytes" in page.text
    last = re.findall(r"<tr>.*?</tr>", text, flags=re.DOTALL)[-1]
    assert re.findall(r'<td class="n">(.*?)</td>', last) == ["\u2013", "\u2013", "\u2013", "2.0"]


def test_reports_are_linked_by_relative_addresses(tmp_path: Path) -> None:
    rows = [row("1.1", 0.2, report="1.1/report.html"), row("a #1", 0.1, report="a #1/report.html"), row("1.3", 0.0)]
    text, page = write(tmp_path, rows, versions=VERSIONS)
    assert page.links == ["1.1/report.html", "a%20%231/report.html"]
    assert page.references == []
    assert "http" not in text
    assert "lungdet 9.8.7, torch 1.2.3" in page.text


def test_titles_are_text_never_markup(tmp_path: Path) -> None:
    text, _ = write(tmp_path, [])
    assert "<h1>subset &lt;3&gt;</h1>" in text


def test_froc_numbers_where_there_are_annotations(tmp_path: Path) -> None:
    _, page = write(tmp_path, [row("1.1", 0.2)], froc=FROC, froc_page="froc.html")
    assert "0.842 0.810 to 0.870" in page.text
    assert "0.700" in page.text
    assert "Denominators: false positives per scan over all 3 listed series; sensitivity over 7 nodules." in page.text
    assert page.links == ["froc.html"]
    _, without = write(tmp_path, [row("1.1", 0.2)], froc=FROC | {"bootstrap": None, "cpm": None})
    assert "95 %" not in without.text
    assert without.links == []
    assert not re.search(r"\b(nan|none)\b", without.text.replace("Failed 0 none", ""), flags=re.IGNORECASE)


@pytest.mark.parametrize(
    ("rows", "failures", "answer"),
    [
        ([], {}, "No scan was given."),
        ([], {"1.1": "gone"}, "0 of 1 scan hold a finding at the threshold, 1 failed."),
        ([row("1.1", 0.9, 1)], {}, "1 of 1 scan holds a finding at the threshold."),
    ],
)
def test_small_batches(rows: list[ScanRow], failures: dict[str, str], answer: str, tmp_path: Path) -> None:
    _, page = write(tmp_path, rows, failures=failures)
    assert answer in page.text
    assert ("No scan was searched." in page.text) == (not rows)
    assert not re.search(r"\bnan\b", page.text, flags=re.IGNORECASE)
