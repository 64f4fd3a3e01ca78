"""Segmentation on a small cohort: 2.5-D and 3-D, resumed, in two processes, scored again, used by the detector."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from lungdet.evaluation.mask_predictions import read_mask_predictions
from lungdet.store.mask_store import MaskStore
from lungdet.store.reader import CtStore

# Eight small scans hold few nodules: numbers that are undefined announce themselves, and are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]

CROP = "data.crop.vox=[5,32,32]"
TINY = (
    "model=unet_seg",
    CROP,
    "model.net.in_channels=5",
    "model.net.first_width=4",
    "model.net.depth=2",
    "data.samples.margin_vox=[0,8,8]",
    # The cohort's chests are too small to be told from air, so nothing is known to be background.
    "data.samples.background_per_scan=0",
    "~data.sampling",
    "+data.sampling={_target_: lungdet.data.sampling.NaturalSampling}",
)


def weights(run: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.fixture
def segment(workplace: Path, lungdet: Command, tiny_training: tuple[str, ...]) -> Train:
    """`segment("name", ...)`: a tiny training in runs/name, once; returns the run directory."""

    def run(name: str, *arguments: str) -> Path:
        folder = workplace / "runs" / name
        if not (folder / "report.html").exists():
            words = [w for w in tiny_training if not w.startswith(("model.net.", "data.crop.", "data.sampling."))]
            lungdet("train", *words, f"hydra.run.dir={folder}", *arguments)
        return folder

    return run


@pytest.fixture
def slices(segment: Train) -> Path:
    """A 2.5-D network after two epochs, trained by the first test that needs it."""
    return segment("slices", *TINY, "trainer.max_epochs=2")


def test_a_run_holds_a_row_for_every_slice_of_the_held_out_scans(slices: Path, workplace: Path) -> None:
    table = read_mask_predictions(slices / "predictions.parquet")
    store = CtStore(workplace / "stores" / "phantom.zarr")
    masks = MaskStore(workplace / "stores" / "phantom_nodules_auto.zarr", store)
    for (uid, _), rows in table.groupby(["series_uid", "partition"]):
        assert len(rows) == store.geometry(str(uid)).shape_zyx[0]
        assert int((rows["tp"] + rows["fn"]).sum()) == int((masks.volume(str(uid)) >= 2).sum())
        n_voxels = int(np.prod(store.geometry(str(uid)).shape_zyx))
        assert int(rows[["tp", "fp", "fn", "tn"]].to_numpy().sum()) == n_voxels
    history = pd.read_csv(slices / "history.csv")
    assert {"train/dice", "val/dice", "val/crop_dice", "val/average_precision"} <= set(history.columns)
    provenance = json.loads((slices / "provenance.json").read_text())
    assert provenance["checkpoint_chosen_by"] == "best val/dice"
    assert provenance["classes"] == ["background", "nodule"]
    readers = json.loads((slices / "readers.json").read_text())
    assert readers, "the phantom's readers drew masks"
    assert "reader" in (slices / "report.html").read_text()


def test_eval_again_gives_the_same_bytes(slices: Path, lungdet: Command) -> None:
    before = {name: (slices / name).read_bytes() for name in ("report.json", "report.html")}
    lungdet("eval", "run=slices", "evaluation.n_resamples=50")
    assert before == {name: (slices / name).read_bytes() for name in before}


def test_interrupted_and_resumed_equals_uninterrupted(segment: Train, slices: Path) -> None:
    half = segment("slices_half", *TINY, "trainer.max_epochs=1")
    checkpoint = half / "checkpoints" / "last.ckpt"
    whole = segment("slices_whole", *TINY, "trainer.max_epochs=2", f"ckpt_path={checkpoint}")
    resumed, straight = weights(whole), weights(slices)
    assert resumed.keys() == straight.keys()
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)
    a, b = (read_mask_predictions(run / "predictions.parquet") for run in (whole, slices))
    assert a.drop(columns=["positives", "negatives", "crop_positives", "crop_negatives"]).equals(
        b.drop(columns=["positives", "negatives", "crop_positives", "crop_negatives"])
    )


def test_the_same_split_as_a_classifier(train: Train, slices: Path) -> None:
    """A detector made of both is judged on patients that neither has seen."""
    classifier = train("classifier_of_the_same_split", "trainer.max_epochs=1")
    hashes = [json.loads((run / "provenance.json").read_text())["split_hash"] for run in (slices, classifier)]
    assert hashes[0] == hashes[1]


def test_the_detector_takes_the_run(slices: Path, workplace: Path, lungdet: Command) -> None:
    cohort = workplace / "cohorts" / "phantom"
    lungdet(
        "detect",
        f"input={cohort}",
        "only=test",
        "networks.segmentation=slices",
        f"out={workplace}/detected_by_slices",
        f"annotations={cohort}/annotations.csv",
        "n_bootstraps=20",
    )
    out = workplace / "detected_by_slices"
    test = json.loads((slices / "split.json").read_text())["test"]
    series = pd.read_csv(cohort / "series.csv")
    searched = set((out / "seriesuids.csv").read_text().split())
    assert searched == set(series.loc[series["patient_id"].isin(test), "seriesuid"])
    assert json.loads((out / "froc" / "froc.json").read_text())["denominator"]["n_series"] == len(searched)


@pytest.mark.slow
def test_two_processes_score_what_one_does(slices: Path, workplace: Path, lungdet_process: Command) -> None:
    before = read_mask_predictions(slices / "predictions.parquet")
    copy = workplace / "runs" / "slices_twice"
    copy.mkdir()
    for name in ("config.yaml", "checkpoints", "split.json", "provenance.json"):
        source = slices / name
        (copy / name).symlink_to(source)
    lungdet_process(
        "predict", "run=slices_twice", "trainer=ddp", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"
    )
    after = read_mask_predictions(copy / "predictions.parquet")
    keys = ["series_uid", "candidate_id", "tp", "fp", "fn", "tn", "crop_tp", "crop_fp"]
    assert after[keys].equals(before[keys])


def test_patches_of_three_dimensions(segment: Train, workplace: Path) -> None:
    run = segment(
        "patches",
        "model=unet3d_seg",
        "model.net.first_width=4",
        "model.net.depth=3",
        "data.crop.vox=[32,32,32]",
        "data.samples.margin_vox=[0,0,0]",
        *TINY[-3:],
        "data.batch_size=2",
        "trainer.max_epochs=1",
    )
    table = read_mask_predictions(run / "predictions.parquet")
    store = CtStore(workplace / "stores" / "phantom.zarr")
    for (uid, _), rows in table.groupby(["series_uid", "partition"]):
        n_voxels = int(np.prod(store.geometry(str(uid)).shape_zyx))
        assert int(rows[["tp", "fp", "fn", "tn"]].to_numpy().sum()) == n_voxels
