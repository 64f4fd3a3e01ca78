"""A trained classifier and blobs over a cohort of phantoms, against its annotations; and its exported files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungdet.io.luna16 import find_scans, read_luna16
from lungdet.io.luna16_tables import read_marks
from lungdet.io.scan import read_header

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]

# The other tests' scans are too small to have lungs.
COHORT = ("data.cohort.shape_zyx=[80,100,100]", "data.root=cohorts/lungs", "data.store_path=stores/lungs.zarr")
LUNGS = "cohorts/lungs"
USUAL = (f"input={LUNGS}", "networks.classifier=to-detect", "device=cpu", "n_shown=1", "n_bootstraps=50",
         "pipeline.inference.classifier.precision=fp32")  # fmt: skip
TRUTH = (f"annotations={LUNGS}/annotations.csv", f"excluded={LUNGS}/annotations_excluded.csv")


@pytest.fixture
def trained(workplace: Path, train: Train) -> Path:
    """A classifier of one epoch, trained by the first test that needs it."""
    run = workplace / "runs" / "to-detect"
    return run if (run / "predictions.parquet").exists() else train("to-detect", "trainer.max_epochs=1", *COHORT)


@pytest.fixture
def found(trained: Path, workplace: Path, lungdet: Command) -> Path:
    """Detections in the test patients' scans, compared with the annotations."""
    folder = workplace / "found"
    if not (folder / "index.html").exists():
        lungdet("detect", *USUAL, *TRUTH, "only=test", "out=found")
    return folder


def test_the_test_patients_are_searched_and_nobody_else(found: Path, trained: Path, workplace: Path) -> None:
    split = json.loads((trained / "split.json").read_text())
    series = read_luna16(workplace / LUNGS).series
    searched = (found / "seriesuids.csv").read_text().split()
    assert searched == sorted(series.loc[series["patient_id"].isin(split["test"]), "series_uid"])
    assert 0 < len(searched) < len(series)
    assert pd.read_csv(found / "patients.csv")["series_uid"].tolist() == searched
    assert set(pd.read_parquet(found / "detections.parquet")["series_uid"]) <= set(searched)


def test_tables_reports_and_numbers_agree(found: Path, workplace: Path) -> None:
    table = pd.read_parquet(found / "detections.parquet")
    marks = read_marks(found / "detections.csv")
    assert len(table) > 0
    assert marks["probability"].tolist() == table["probability"].tolist()
    assert np.allclose(1 / (1 + np.exp(-table["logit"])), table["probability"], atol=1e-6)
    patients = pd.read_csv(found / "patients.csv").set_index("series_uid")
    best = table.groupby("series_uid")["probability"].max()
    for uid, row in zip(patients.index.astype(str), patients.to_dict("records"), strict=True):
        record = json.loads((found / uid / "detections.json").read_text())
        assert record["recipe"]["networks"]["classifier"][0]["name"] == "to-detect/best"
        assert len(record["candidates"]) == row["n_candidates"] == (table["series_uid"] == uid).sum()
        if row["n_candidates"]:
            assert row["nodule_probability"] == best[uid]
        assert "to-detect/best" in (found / uid / "report.html").read_text()
    froc = json.loads((found / "froc" / "froc.json").read_text())
    nodules = pd.read_csv(workplace / LUNGS / "annotations.csv")
    assert froc["denominator"]["n_series"] == len(patients)
    assert froc["denominator"]["n_nodules"] == nodules["seriesuid"].isin(list(patients.index)).sum()
    answers = json.loads((found / "patients.json").read_text())
    assert set(answers) == {"nodule", "malignancy"}, "the phantom has ratings"


def test_candidates_lie_in_the_scan(found: Path, workplace: Path) -> None:
    paths = find_scans(workplace / LUNGS)
    for uid, rows in pd.read_parquet(found / "detections.parquet").groupby("series_uid"):
        geometry = read_header(paths[str(uid)])
        assert geometry.contains(rows[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy()).all()


def test_evaluated_again_the_bytes_are_the_same(found: Path, lungdet: Command) -> None:
    before = {path: path.read_bytes() for path in found.rglob("*") if path.is_file()}
    lungdet("eval", "run=found")
    lungdet("detect", *USUAL, *TRUTH, "only=test", "out=found")
    assert {path: path.read_bytes() for path in found.rglob("*") if path.is_file()} == before


def test_the_exported_network_finds_the_same(found: Path, trained: Path, workplace: Path, lungdet: Command) -> None:
    lungdet("export", f"run={trained}", "out=exported", "formats=[safetensors,torchscript]")
    expected = pd.read_parquet(found / "detections.parquet")
    for name in ("to-detect.safetensors", "to-detect.ts.pt"):
        (workplace / "list.csv").write_text((found / "seriesuids.csv").read_text())
        shutil.rmtree(workplace / "again", ignore_errors=True)
        lungdet("detect", *USUAL, f"networks.classifier=exported/{name}", "only=list.csv", "out=again", "n_shown=0")
        table = pd.read_parquet(workplace / "again" / "detections.parquet")
        assert table["center_x_mm"].tolist() == expected["center_x_mm"].tolist()
        assert np.allclose(table["logit"], expected["logit"], atol=1e-4)
