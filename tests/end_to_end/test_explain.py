"""Train a small classifier of the phantom's candidates, then ask it what it looks at, in every way there is."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from tests.pages import assert_self_contained

from lungdet.data.partitions import Split
from lungdet.evaluation.predictions import read_predictions
from lungdet.explanations.case_store import CaseStore

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]

FEW = ("device=cpu", "cases.n=2", "curves.n_steps=4", "curves.n_random=2", "faithfulness.n_cases=4",
       "faithfulness.n_resamples=20", "random_weights.n_cases=2")  # fmt: skip
SUPERPIXEL = ("explain.regions.n_segments=12", *FEW)


PICTURES = (
    "data=histopathology_phantom", "data.root=cohorts/explained", "data.store_path=stores/explained.zarr",
    "data.cohort.n_images=60", "data.store.size_hw=[48,48]", "data.augment=null",
    "model=patch_cnn", "model.views=flip", "split=holdout", "split.val_fraction=0.3", "split.test_fraction=0.3",
    "trainer=cpu", "trainer.max_epochs=1", "trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false",
    "callbacks.progress=null", "logger=none", "evaluation.n_resamples=20",
)  # fmt: skip


@pytest.fixture
def trained(workplace: Path, train: Train) -> Path:
    """A run of one epoch, made by the first test that needs it."""
    run = workplace / "runs" / "to-explain"
    return run if run.exists() else train("to-explain", "trainer.max_epochs=1")


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {path.stem: pd.read_parquet(path) for path in folder.glob("*.parquet")}


def test_superpixels_of_a_volume(trained: Path, lungdet: Command) -> None:
    lungdet("explain", "run=to-explain", *SUPERPIXEL, "cases.label=1", "explain/fill=lung")
    folder = trained / "explanations" / "superpixel"
    assert_self_contained((folder / "page.html").read_text())
    found = tables(folder)
    predictions = read_predictions(trained / "predictions.parquet")
    test = predictions[predictions["partition"] == "test"]
    cases = found["cases"]
    assert cases["label"].tolist() == [1, 1]
    scored = test.set_index(["series_uid", "candidate_id"])["probability"]
    expected = [
        scored[uid, candidate] for uid, candidate in zip(cases["series_uid"], cases["candidate_id"], strict=True)
    ]
    assert cases["p_true"].tolist() == pytest.approx(expected, abs=1e-4), "the network of the run, on its own input"
    for _, segments in found["segments"].groupby("case"):
        assert segments["area_percent"].sum() == pytest.approx(100)
        assert segments["drop"].is_monotonic_increasing
    curves = found["curves"]
    whole = curves[(curves["change"] == "deletion") & (curves["step"] == 0)].groupby("case")["score"]
    assert whole.first().tolist() == pytest.approx(cases["p_true"].tolist(), abs=1e-6)
    measured = found["measured"]
    assert sorted(measured["label"]) == [0, 0, 1, 1]
    positive = measured["label"] == 1
    assert (measured.loc[positive, "target_area"] > 0).all(), "a nodule candidate holds its nodule"
    assert measured.loc[~positive, "target_area"].isna().all()
    assert len(found["random_weights"]) == 2
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["provenance"]["settings"]["explain"]["fill"]["hu"] == -850
    with np.load(next((folder / "cases").glob("shown-*.npz"))) as arrays:
        assert arrays["heat"].shape == (16, 24, 24)
        assert 0 == arrays["segments"].min() < arrays["segments"].max()


@pytest.mark.parametrize(
    ("words", "name", "n_parts"),
    [
        (("explain=occlusion", "explain/regions=quadrants", "explain.rank_by=abs_drop"), "occlusion", 8),
        (("explain=gradcam", "explain/fill=air", "explain.regions.n_segments=12"), "gradcam", None),
        (
            ("explain=integrated_gradients", "explain.n_steps=8", "explain/regions=ring", "heat_map.sign=signed"),
            "integrated_gradients",
            1,
        ),
    ],
)
def test_every_other_way(
    trained: Path, lungdet: Command, words: tuple[str, ...], name: str, n_parts: int | None
) -> None:
    lungdet("explain", "run=to-explain", *words, *FEW)
    folder = trained / "explanations" / name
    assert_self_contained((folder / "page.html").read_text())
    found = tables(folder)
    counts = found["segments"].groupby("case").size()
    assert len(counts) == 2
    assert n_parts is None or counts.tolist() == [n_parts] * 2
    assert found["cases"]["gap"].isna().all() == (name != "integrated_gradients")


@pytest.mark.parametrize("way", ["superpixel", "gradcam"])
def test_pictures_in_colour_whose_answers_are_means_over_views(workplace: Path, lungdet: Command, way: str) -> None:
    run = workplace / "runs" / "pictures-to-explain"
    if not run.exists():
        lungdet("train", *PICTURES, f"hydra.run.dir={run}")
    lungdet("explain", "run=pictures-to-explain", f"explain={way}", *SUPERPIXEL, "cases.correct=null")
    page = (run / "explanations" / way / "page.html").read_text()
    assert_self_contained(page)
    assert "means over several views of an image" in page
    assert ("Grad-CAM looks at the image once" in page) == (way == "gradcam")
    cases = tables(run / "explanations" / way)["cases"]
    predictions = read_predictions(run / "predictions.parquet").set_index("series_uid")
    expected = [
        p if label else 1 - p
        for p, label in predictions.loc[cases["series_uid"], ["probability", "label"]].itertuples(index=False)
    ]
    assert cases["p_true"].tolist() == pytest.approx(expected, abs=1e-4)
    with np.load(next((run / "explanations" / way / "cases").glob("shown-*.npz"))) as arrays:
        assert arrays["heat"].shape == (48, 48)
    if way == "gradcam":
        return
    with pytest.raises(SystemExit, match="2"):
        lungdet("explain", "run=pictures-to-explain", "explain.name=air", "explain/fill=air", *FEW)


def test_an_interrupted_call_goes_on(
    trained: Path, lungdet: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("explain", "run=to-explain", "explain.name=again", *SUPERPIXEL)
    folder = trained / "explanations" / "again"
    kept: list[str] = []
    write = CaseStore.write

    def interrupted(self: CaseStore, name: str, *record: object, **arrays: object) -> None:
        if len(kept) == 3:
            raise KeyboardInterrupt
        kept.append(name)
        write(self, name, *record, **arrays)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(CaseStore, "write", interrupted)
        with pytest.raises(SystemExit, match="130"):
            lungdet(*words)
    assert not (folder / "page.html").exists()
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "cases").glob("*.npz")}
    assert len(before) == 3
    lungdet(*words)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "cases").glob("*.npz")}
    assert len(after) == 2 + 4
    assert {name: after[name] for name in before} == before, "what was there was not computed again"
    page = (folder / "page.html").read_bytes()

    with pytest.raises(SystemExit, match="2"):
        lungdet(*words, "explain/fill=blur")
    said = capsys.readouterr().err
    assert "holds explanations that were made with other settings (explain.fill" in said
    assert "overwrite=true" in said
    assert (folder / "page.html").read_bytes() == page
    lungdet(*words, "explain/fill=blur", "overwrite=true")
    assert (folder / "page.html").read_bytes() != page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cases.n=0", "n_bars=0"), "cases.n=0 must be at least 1"),
        (("random_weights.n_cases=1",), "batch norm of random weights takes its statistics from them"),
        (("explain=gradcam", "explain.layer=block5"), "explain.layer: LunaModel has no module 'block5'; did you mean"),
        (("explain.rank_by=size",), "explain.rank_by: Occlusion expects one of 'drop', 'abs_drop'"),
        (("cases.ids=[nobody]",), "cases.ids: 'nobody' is no series, image or <series>:<candidate_id> of 'test'"),
        (("checkpoint=worst",), "no checkpoint 'worst'"),
    ],
)
def test_wrong_words_end_in_one_line(
    trained: Path, lungdet: Command, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        lungdet("explain", "run=to-explain", "out=nowhere", *FEW, *words)
    assert message in capsys.readouterr().err


def test_other_patients_are_refused(
    trained: Path, lungdet: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("explanations"))
    split = Split.from_json((trained / "split.json").read_text())
    moved = dataclasses.replace(split, train=(*split.train, split.test[0]), test=split.test[1:])
    (tmp_path / "run" / "split.json").write_text(moved.to_json())
    with pytest.raises(SystemExit, match="2"):
        lungdet("explain", f"run={tmp_path / 'run'}", *FEW)
    assert "was trained on other patients than its configuration gives now" in capsys.readouterr().err


def test_a_segmentation_is_refused(
    trained: Path, lungdet: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What makes it one is the kind of samples in its configuration."""
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("explanations"))
    cfg = OmegaConf.load(trained / "config.yaml")
    cfg.data.samples = {"_target_": "lungdet.data.mask_samples.MaskSamples", "whole_slices": False}
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml")
    with pytest.raises(SystemExit, match="2"):
        lungdet("explain", f"run={tmp_path / 'run'}", *FEW)
    assert "segments: its output is a picture already" in capsys.readouterr().err
