"""A leak planted in the data (one patient under two ids, identical pixels) is named in audit, report and page."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pages import Page, assert_self_contained

from lungdet.data.partitions import Split

# Ten small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Command = Callable[..., None]

COPY, NEAR_COPY = ("2.25.1", "OTHER-0001"), ("2.25.2", "OTHER-0002")
SEGMENTATION = (
    "model=unet_seg",
    "data.crop.vox=[5,32,32]",
    "model.net.in_channels=5",
    "model.net.first_width=4",
    "model.net.depth=2",
    "data.samples.margin_vox=[0,8,8]",
    "data.samples.background_per_scan=0",
    "~data.sampling",
    "+data.sampling={_target_: lungdet.data.sampling.NaturalSampling}",
)
TABLES = ("annotations.csv", "annotations_excluded.csv", "candidates.csv", "candidates_V2.csv", "seriesuids.csv")


def plant(root: Path, original: str, series_uid: str, patient_id: str) -> Path:
    """Copy a scan and its rows in every table under new names; gives the voxel file."""
    header = next(root.glob(f"subset*/{original}.mhd"))
    copied = header.with_name(f"{series_uid}.mhd")
    copied.write_text(header.read_text().replace(original, series_uid))
    shutil.copy(header.with_suffix(".raw"), copied.with_suffix(".raw"))
    for name in TABLES:
        with (root / name).open() as file:
            rows = list(csv.reader(file))
        with (root / name).open("a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [series_uid, *row[1:]] for row in rows if row[0] == original
            )
    with (root / "series.csv").open("a") as file:
        file.write(f"{series_uid},{header.parent.name.removeprefix('subset')},{patient_id}\n")
    return copied.with_suffix(".raw")


@pytest.fixture(scope="module")
def original(workplace: Path) -> tuple[str, str]:
    """Series and patient of the scan that is copied: the first patient who has one series only."""
    with (workplace / "cohorts" / "phantom" / "series.csv").open() as file:
        rows = sorted(csv.DictReader(file), key=lambda row: row["patient_id"])
    patients = [row["patient_id"] for row in rows]
    row = next(row for row in rows if patients.count(row["patient_id"]) == 1)
    return row["seriesuid"], row["patient_id"]


@pytest.fixture
def leaking(
    workplace: Path, original: tuple[str, str], lungdet: Command, tiny_training: tuple[str, ...]
) -> Callable[..., Path]:
    """Train on a collection with an exact copy and one that differs in a voxel; made by the first test that asks."""
    root, store = workplace / "cohorts" / "leaking", workplace / "stores" / "leaking.zarr"
    data = (f"data.root={root}", f"data.store_path={store}")
    if not store.exists():
        shutil.copytree(workplace / "cohorts" / "phantom", root)
        plant(root, original[0], *COPY)
        near = plant(root, original[0], *NEAR_COPY)
        voxels = np.fromfile(near, "<i2")
        voxels[len(voxels) // 2] = 777
        voxels.tofile(near)
        lungdet("preprocess", "data=luna16", *data, "workers=1")

    def train(name: str, *arguments: str) -> Path:
        run = workplace / "runs" / name
        if (run / "report.html").exists():
            return run
        fixed = (
            "data.cohort.",
            "+data.cohort.",
            *(("model.net.", "data.crop.", "data.sampling.") if arguments else ()),
        )
        words = [word for word in tiny_training if not word.startswith(fixed)]
        lungdet("train", "data=luna16", *data, *words, f"hydra.run.dir={run}", "trainer.max_epochs=1", *arguments)
        return run

    return train


def test_the_same_patient_under_two_ids_is_named(leaking: Callable[..., Path], original: tuple[str, str]) -> None:
    run = leaking("leaking")
    audit = json.loads((run / "audit.json").read_text())
    split = Split.from_json((run / "split.json").read_text())
    partition = dict(zip((original[1], COPY[1]), split.partition_of([original[1], COPY[1]]).tolist(), strict=True))
    assert len(set(partition.values())) == 2, "the planted copy is to lie in another partition; take another split.seed"

    assert audit["shared_patients"] == audit["shared_series"] == {}
    (group,) = audit["equal_pixels"]
    assert group["crosses_partitions"] is True
    assert sorted((s["series_uid"], s["patient_id"], s["partition"]) for s in group["scans"]) == sorted(
        (*named, partition[named[1]]) for named in (original, COPY)
    )
    assert audit["scans_hashed"] == 10
    assert {name: part["patients"] for name, part in audit["partitions"].items()} == {
        "train": len(split.train), "val": len(split.val), "test": len(split.test),
    }  # fmt: skip

    report = json.loads((run / "report.json").read_text())
    assert report["audit"]["disjoint"] is False
    warning = next(finding for finding in report["findings"] if finding["code"] == "leak_pixels")
    assert warning["kind"] == "warning"
    html = (run / "report.html").read_text()
    assert_self_contained(html)
    page = Page(html).text
    section = page[page.index("LEAK:") :]
    for name in (*original, *COPY):
        assert name in warning["text"]
        assert name in report["audit"]["verdict"]
        assert name in section
    for name in NEAR_COPY:
        assert name not in json.dumps(audit["equal_pixels"]), "one voxel differs: no copy by pixel hash"


def test_a_segmentation_of_the_same_scans_names_it_too(leaking: Callable[..., Path], original: tuple[str, str]) -> None:
    run = leaking("leaking_masks", *SEGMENTATION)
    record: dict[str, Any] = json.loads((run / "report.json").read_text())
    assert all(name in record["audit"]["verdict"] for name in (*original, *COPY))
    assert record["audit"]["verdict"].startswith("LEAK: the same pixels in different partitions")
    assert "leak_pixels" in {finding["code"] for finding in record["findings"]}


def test_an_earlier_run_without_audit_is_told_apart(leaking: Callable[..., Path], lungdet: Command) -> None:
    run = Path(shutil.copytree(leaking("leaking"), leaking("leaking").with_name("leaking_before")))
    (run / "audit.json").unlink()
    lungdet("eval", f"run={run}", "evaluation.n_resamples=50")
    audit = json.loads((run / "report.json").read_text())["audit"]
    assert audit["looked_at"] == "split"
    assert "Pixels were not compared" in audit["verdict"]
