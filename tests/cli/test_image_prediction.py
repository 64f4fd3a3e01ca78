"""Image files with a run's network: every step from the file to the table, against the same written out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from tests.exports.conftest import lively

from lungdet.cli import predict
from lungdet.nets.patch_cnn import PatchCnn

CONFIG = """
data:
  _target_: lungdet.data.chest_xray.ChestXrayDataModule
  store: {_target_: lungdet.store.image_preprocess.ImageSpec, size_hw: [32, 24], dark_frame: null}
model:
  _target_: lungdet.tasks.image_classification.ImageClassification
  net: {_target_: lungdet.nets.patch_cnn.PatchCnn, in_channels: 1}
  views: flip
"""
PLATT = {"method": "platt", "slope": 0.5, "intercept": -1.0, "smoothed": False}


@pytest.fixture
def net() -> PatchCnn:
    net = lively(PatchCnn(in_channels=1))
    assert isinstance(net, PatchCnn)
    return net


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: PatchCnn) -> Path:
    """Holds runs/xrays, calibrated, and images/ with three pictures of the stored size, a wide one and a broken one."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs/xrays"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG)
    torch.save({"state_dict": {f"net.{k}": v for k, v in net.state_dict().items()}}, run / "checkpoints/best.ckpt")
    record = {"checkpoint": "checkpoints/best.ckpt", "classes": ["normal", "pneumonia"], "items": "chest X-rays"}
    (run / "provenance.json").write_text(json.dumps(record))
    fit = {"fold": 0, "n_rows": 9, "n_positives": 4, "parameters": PLATT, "not_fitted_because": ""}
    calibration = {"method": "platt", "fitted_on": "val", "fits": [fit], "predictions_sha256": None}
    (run / "calibration.json").write_text(json.dumps({**calibration, "checkpoint": "checkpoints/best.ckpt"}))
    random = np.random.default_rng(0)
    (tmp_path / "images/deeper").mkdir(parents=True)
    for name in ("a", "b", "deeper/c"):
        Image.fromarray(random.integers(0, 256, (32, 24), dtype=np.uint8)).save(tmp_path / f"images/{name}.png")
    wide = np.tile(random.integers(0, 256, (32, 24), dtype=np.uint8), (1, 2))
    Image.fromarray(wide).convert("RGB").save(tmp_path / "images/wide.png")
    (tmp_path / "images/broken.jpg").write_bytes(b"no picture")
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def call(*arguments: str) -> None:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["predict.py", "trainer=cpu", *arguments])
        predict.main()

    return call


def by_hand(net: PatchCnn, path: Path) -> float:
    """The logit, with Pillow and NumPy: grey, the middle 24 columns, 0 to 1, and the mean over both mirror images."""
    pixels = np.asarray(Image.open(path).convert("L"), np.float32)
    start = (pixels.shape[1] - 24) // 2
    image = torch.from_numpy(pixels[None, None, :, start : start + 24] / 255)
    with torch.inference_mode():
        return float((net(image) + net(image.flip(3)))[0, 0] / 2)


def test_a_folder_with_a_file_that_cannot_be_read(
    folder: Path, net: PatchCnn, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("run=xrays", "images=images", "out=scored", "batch_size=2")
    said = capsys.readouterr()
    assert "1 of 5 images failed; the others are scored.\n  broken: " in said.err
    assert "broken.jpg: not a readable image" in said.err
    scores = pd.read_csv(folder / "scored/scores.csv").set_index("id")
    assert list(scores) == ["path", "logit", "raw_probability", "probability"]
    assert list(scores.index) == ["a", "b", "c", "wide"]
    expected = np.array([by_hand(net, Path(path)) for path in scores["path"]])
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(scores["logit"], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores["raw_probability"], 1 / (1 + np.exp(-expected)), atol=1e-6)
    np.testing.assert_allclose(scores["probability"], 1 / (1 + np.exp(-(0.5 * expected - 1))), atol=1e-6)
    submission = pd.read_csv(folder / "scored/submission.csv")
    assert submission["id"].tolist() == list(scores.index)
    np.testing.assert_allclose(submission["label"], scores["probability"])
    assert "label: probability of 'pneumonia'" in said.out


def test_a_list_into_a_file(folder: Path, run: Callable[..., None]) -> None:
    (folder / "list.csv").write_text("id,path\n17,images/b.png\n4,images/a.png\n")
    run("run=xrays", "images=list.csv", "out=to/mine.csv")
    assert pd.read_csv(folder / "to/mine.csv")["id"].tolist() == [17, 4]
    assert pd.read_csv(folder / "to/mine_scores.csv")["id"].tolist() == [17, 4]


def test_without_a_file_the_highest_are_shown_and_a_missing_calibration_is_said(
    folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "runs/xrays/calibration.json").unlink()
    run("run=latest", "images=images/a.png")
    out = capsys.readouterr().out
    assert "1 images scored; the most likely 'pneumonia'" in out
    assert "xrays is not calibrated: probability is the sigmoid of the logit" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["images=images", "candidates=[a.csv]"], "images: candidates= and data= are for CT"),
        (["images=images", "data=luna16"], "images: candidates= and data= are for CT"),
        (["images=images", "batch_size=0"], "batch_size=0 must be at least 1"),
        (["images=elsewhere"], "elsewhere: no such folder or file"),
        (["run=a.onnx"], "images: an exported file has no rows of its own; add images="),
        (["run=a.onnx", "images=images"], "no network at a.onnx"),
        (["checkpoint=last", "images=images"], "no checkpoint 'last'"),
        (["candidates=[a.csv]"], "candidates: xrays was not trained on CT; add images=<folder> instead"),
    ],
)
def test_what_does_not_go_together_is_said(
    arguments: list[str], expected: str, folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("run=xrays", *arguments)
    assert expected in capsys.readouterr().err


def test_a_run_on_ct_scores_no_pictures(
    folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.cli.small_networks import LUNA, write_run

    from lungdet.nets.luna import LunaModel

    write_run(folder / "runs/ct", LUNA, net=LunaModel(conv_channels=2))
    with pytest.raises(SystemExit, match="2"):
        run("run=ct", "images=images")
    assert "ct was trained for candidate_classification on CT; it takes no image files" in capsys.readouterr().err
