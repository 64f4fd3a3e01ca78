from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from lungdet.errors import ConfigError, StoreError
from lungdet.io.luna16 import read_luna16
from lungdet.io.phantom import CohortSummary, PhantomSpec, make_scan, plan_cohort, write_cohort
from lungdet.io.scan import read_scan

SPEC = PhantomSpec(n_scans=4, shape_zyx=(40, 64, 64), candidates_per_scan=50, seed=1)


def bytes_of(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CohortSummary, list[tuple[int, int]]]:
    root = tmp_path_factory.mktemp("phantom") / "cohort"
    calls: list[tuple[int, int]] = []
    summary = write_cohort(root, SPEC, progress=lambda done, total: calls.append((done, total)))
    return root, summary, calls


def test_layout(written: tuple[Path, CohortSummary, list[tuple[int, int]]]) -> None:
    root, summary, calls = written
    assert sorted(p.name for p in root.iterdir()) == sorted(
        [f"subset{i}" for i in range(10)]
        + ["annotations.csv", "annotations_excluded.csv", "annotations_with_malignancy.csv", "candidate_kinds_V2.csv"]
        + [
            "candidates.csv",
            "candidates_V2.csv",
            "clinical.csv",
            "masks",
            "nodule_truth.csv",
            "phantom.json",
            "series.csv",
        ]
        + ["seriesuids.csv", "truth"]
    )
    assert calls == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert (summary.written, summary.skipped, summary.n_scans, summary.n_patients) == (4, 0, 4, 3)
    assert str(summary).startswith("4 scans (4 written, 0 there before), 3 patients, ")
    record = json.loads((root / "phantom.json").read_text())
    assert PhantomSpec.from_dict(record["spec"]) == SPEC
    assert record["fingerprint"] == SPEC.fingerprint
    assert "No patient data" in record["provenance"]


def test_the_luna16_reader_reads_it(written: tuple[Path, CohortSummary, list[tuple[int, int]]]) -> None:
    root, summary, _ = written
    luna = read_luna16(root)
    assert list(luna.scan_paths) == sorted(plan.series_uid for plan in plan_cohort(SPEC))
    assert luna.counts["series_listed"] == luna.counts["series_on_disk"] == 4
    assert luna.counts["positives_without_annotation"] == 0
    assert len(luna.annotations) == summary.n_nodules > 0
    assert luna.candidates is not None
    assert luna.malignancy is not None
    assert len(luna.candidates) == summary.n_candidates
    assert int(luna.candidates["is_nodule"].sum()) == summary.n_positive > 0
    assert int(luna.malignancy["is_malignant"].sum()) == summary.n_malignant
    assert luna.series["patient_id"].nunique() == 3
    assert read_luna16(root, candidates_file="candidates.csv").candidates is not None


def test_files_hold_what_make_scan_gives(written: tuple[Path, CohortSummary, list[tuple[int, int]]]) -> None:
    root, _, _ = written
    for index, plan in enumerate(plan_cohort(SPEC)):
        expected = make_scan(SPEC, index)
        scan = read_scan(root / f"subset{plan.subset}" / f"{plan.series_uid}.mhd")
        np.testing.assert_array_equal(scan.hu, expected.hu)
        assert scan.geometry == expected.geometry
        mask = read_scan(root / "masks" / f"{plan.series_uid}.mhd")
        np.testing.assert_array_equal(mask.hu, expected.reader_mask)
        assert mask.geometry == expected.geometry


def test_two_processes_and_another_order_give_the_same_bytes(
    written: tuple[Path, CohortSummary, list[tuple[int, int]]], tmp_path: Path
) -> None:
    root, _, _ = written
    calls: list[tuple[int, int]] = []
    write_cohort(tmp_path, SPEC, workers=2, progress=lambda done, total: calls.append((done, total)))
    assert bytes_of(tmp_path) == bytes_of(root)
    assert calls == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_stopped_run_is_finished_and_complete_scans_are_left_alone(
    written: tuple[Path, CohortSummary, list[tuple[int, int]]], tmp_path: Path
) -> None:
    root, _, _ = written

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path, SPEC, progress=stop)
    plans = plan_cohort(SPEC)
    kept, cut, lost = plans[:3]
    untouched = tmp_path / f"subset{kept.subset}" / f"{kept.series_uid}.raw"
    before = untouched.stat().st_mtime_ns
    short = tmp_path / f"subset{cut.subset}" / f"{cut.series_uid}.raw"
    short.write_bytes(short.read_bytes()[:-2])
    (tmp_path / "masks" / f"{lost.series_uid}.zraw").unlink()
    summary = write_cohort(tmp_path, SPEC)
    assert (summary.written, summary.skipped) == (3, 1)
    assert untouched.stat().st_mtime_ns == before
    assert bytes_of(tmp_path) == bytes_of(root)
    # As in a cohort that was written before there was such a table.
    (tmp_path / "clinical.csv").unlink()
    again = write_cohort(tmp_path, SPEC, workers=2)
    assert (again.written, again.skipped) == (0, 4)
    assert bytes_of(tmp_path) == bytes_of(root)


def test_a_failing_scan_ends_the_run_with_its_error(tmp_path: Path) -> None:
    plan = plan_cohort(SPEC)[0]
    blocked = tmp_path / "cohort" / f"subset{plan.subset}" / f"{plan.series_uid}.raw"
    (tmp_path / "cohort").mkdir()
    blocked.mkdir(parents=True)
    (tmp_path / "cohort" / "phantom.json").write_text(json.dumps({"spec": SPEC.to_dict(), "generator_version": 1}))
    with pytest.raises(OSError, match=f"{plan.series_uid}"):
        write_cohort(tmp_path / "cohort", SPEC, workers=2)


def test_another_cohort_is_refused(written: tuple[Path, CohortSummary, list[tuple[int, int]]]) -> None:
    root, _, _ = written
    before = bytes_of(root)
    with pytest.raises(StoreError, match=r"holds another phantom cohort: seed is 1 there, asked is 2\. .*rm -r "):
        write_cohort(root, PhantomSpec(**{**SPEC.to_dict(), "seed": 2}))
    assert bytes_of(root) == before


def test_another_generator_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "phantom.json").write_text(json.dumps({"spec": SPEC.to_dict(), "generator_version": 0}))
    with pytest.raises(StoreError, match="made by generator version 0, this is version 1"):
        write_cohort(tmp_path, SPEC)


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "annotations.csv").write_text("precious")
    with pytest.raises(StoreError, match=r"is not empty and no phantom cohort .*annotations\.csv"):
        write_cohort(tmp_path, SPEC)
    assert (tmp_path / "annotations.csv").read_text() == "precious"
    with pytest.raises(StoreError, match="is a file; give a folder"):
        write_cohort(tmp_path / "annotations.csv", SPEC)


@pytest.mark.parametrize("text", ["{", "[]", '{"spec": 3}', "{}"])
def test_a_damaged_description_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "phantom.json").write_text(text)
    with pytest.raises(StoreError, match=r"phantom\.json cannot be read .* rm -r "):
        write_cohort(tmp_path, SPEC)


def test_no_workers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workers: 0 is not a number of processes"):
        write_cohort(tmp_path / "new", SPEC, workers=0)
    assert not (tmp_path / "new").exists()
