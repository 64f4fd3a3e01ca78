"""The phantom DataModule makes what is missing, once, and trains like any other collection."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lungdet.data.intensity import Window
from lungdet.data.phantom import PhantomDataModule
from lungdet.data.sampling import BalancedSampling
from lungdet.data.splits import Holdout
from lungdet.errors import StoreError
from lungdet.io.phantom import PhantomSpec, plan_cohort
from lungdet.store.schema import CropSize, StoreSpec

COHORT = PhantomSpec(n_scans=6, shape_zyx=(32, 32, 32), candidates_per_scan=50)
SPEC = StoreSpec(spacing_mm="native", lung_mask=False)


def phantom(folder: Path, **changed: Any) -> PhantomDataModule:
    settings: dict[str, Any] = {
        "root": folder / "phantom",
        "cohort": COHORT,
        "store_path": folder / "phantom.zarr",
        "store": SPEC,
        "crop": CropSize(vox=(8, 8, 8)),
        "window": Window(),
        "sampling": BalancedSampling(),
        "split": Holdout(val_fraction=0.25, test_fraction=0.25),
        "batch_size": 4,
    }
    return PhantomDataModule(**(settings | changed))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the cohort and its store, made in one process."""
    folder = tmp_path_factory.mktemp("embedded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "cpu_count", lambda: 1)
        phantom(folder).prepare_data()
        yield folder


@pytest.fixture
def own(prepared: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(prepared, tmp_path / "own")
    return tmp_path / "own"


def test_two_that_start_together_make_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the jobs of a sweep do: a lock on a file opened twice holds between threads too."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    both = [phantom(tmp_path), phantom(tmp_path)]
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(one.prepare_data) for one in both]:
            done.result(timeout=120)
    for one in both:
        one.setup()
    assert both[0].records.equals(both[1].records)
    assert len(both[0].store.series_uids) == COHORT.n_scans


def test_cohort_and_store_are_made_and_can_be_trained_on(prepared: Path) -> None:
    datamodule = phantom(prepared)
    assert datamodule.store_problems() == []
    datamodule.setup("fit")
    uids = {plan.series_uid for plan in plan_cohort(COHORT)}
    assert set(datamodule.store.series_uids) == uids
    assert set(datamodule.records["series_uid"]) <= uids
    assert min(datamodule.train_class_counts) > 0
    batch = next(iter(datamodule.train_dataloader()))
    assert batch["hu"].shape == (4, 1, 8, 8, 8)


def test_what_is_there_is_left_alone(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    scans = {path: path.stat().st_mtime_ns for path in own.rglob("*.raw")}
    stored = {path: path.stat().st_mtime_ns for path in own.glob("phantom.zarr/scans/*/zarr.json")}
    assert len(scans) == len(stored) == 6
    with caplog.at_level(logging.INFO):
        phantom(own).prepare_data()
    assert all(path.stat().st_mtime_ns == before for path, before in (scans | stored).items())
    assert "written" not in caplog.text


def test_interrupted_cohort_and_store_are_finished(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    uid = plan_cohort(COHORT)[2].series_uid
    next(own.rglob(f"subset*/{uid}.raw")).unlink()
    shutil.rmtree(own / "phantom.zarr" / "scans" / uid)
    datamodule = phantom(own)
    assert datamodule.store_problems() == []
    with caplog.at_level(logging.INFO):
        datamodule.prepare_data()
    assert "6 scans (1 written, 5 there before)" in caplog.text
    assert uid in datamodule.store


def test_nothing_there_is_no_problem(tmp_path: Path) -> None:
    assert phantom(tmp_path).store_problems() == []


def test_store_with_other_settings_is_a_problem_before_anything_runs(prepared: Path) -> None:
    datamodule = phantom(prepared, store=StoreSpec(spacing_mm=(1, 1, 1), lung_mask=False))
    (problem,) = datamodule.store_problems()
    assert "was made with other settings" in problem
    assert "lungdet preprocess data=phantom data.root=" in problem
    assert "overwrite=true" in problem
    with pytest.raises(StoreError, match="other settings"):
        datamodule.prepare_data()


def test_another_cohort_at_the_same_place(prepared: Path) -> None:
    with pytest.raises(StoreError, match=r"holds another phantom cohort: seed is 0 there, asked is 1"):
        phantom(prepared, cohort=PhantomSpec(**{**COHORT.to_dict(), "seed": 1})).prepare_data()


def test_scan_that_cannot_be_stored(own: Path) -> None:
    shutil.rmtree(own / "phantom.zarr")
    uid = plan_cohort(COHORT)[0].series_uid
    header = next(own.rglob(f"subset*/{uid}.mhd"))
    header.write_text(header.read_text().replace("NDims = 3", "NDims = 7"))
    with pytest.raises(StoreError, match=rf"1 of 6 phantom scans could not be stored, the first: {uid}"):
        phantom(own).prepare_data()


def test_progress_is_reported_where_somebody_listens(own: Path) -> None:
    shutil.rmtree(own / "phantom.zarr")
    seen: list[tuple[str, int, int]] = []

    @contextmanager
    def listen(title: str, *, total: int) -> Iterator[Callable[..., None]]:
        yield lambda done, total, series_uid="": seen.append((title, done, total))

    datamodule = phantom(own)
    datamodule.progress = listen
    datamodule.prepare_data()
    assert seen[0] == ("phantom", 6, 6)
    assert seen[-6:] == [("preprocess", done, 6) for done in range(1, 7)]
