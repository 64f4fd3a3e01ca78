"""Runs of pictures leave the project, alone and together: the files score the runs' own rows as before."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tests.end_to_end.conftest import call

from lungdet.cli.eval import open_data
from lungdet.data.images import ImageDataModule
from lungdet.evaluation.calibration import read_calibration
from lungdet.evaluation.predictions import read_predictions, write_predictions
from lungdet.exports.load import load_exported
from lungdet.training.run_directory import RunDirectory

# Sixty small pictures: a partition of few is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

PAGE = Path(__file__).parents[2] / "docs/export.md"
TINY = (
    "data=histopathology_phantom",
    "data.root=cohorts/ensembled",
    "data.store_path=stores/ensembled.zarr",
    "data.cohort.n_images=72",
    "data.store.size_hw=[48,48]",
    "data.augment=null",
    "model=patch_cnn",
    "model.views=flip",
    "split=holdout",
    "split.val_fraction=0.3",
    "split.test_fraction=0.3",
    "optim.lr=0.003",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "callbacks.progress=null",
    "logger=none",
    "evaluation.n_resamples=50",
    "evaluation.n_gallery=2",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs/one and runs/two, trained on the same split with different seeds, and runs/both."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate(("one", "two")):
        call("train", folder, *TINY, f"seed={seed}", f"hydra.run.dir={folder}/runs/{name}")
    call("ensemble", folder, "runs=[one,two]", f"out={folder}/runs/both", "evaluation.n_resamples=50")
    return folder


def evaluation_rows(run: Path) -> tuple[torch.Tensor, pd.DataFrame]:
    """What the network is given of the rows of the predictions table, and the table in the same order."""
    datamodule, reason = open_data(RunDirectory(run))
    assert isinstance(datamodule, ImageDataModule), reason
    table = read_predictions(run / "predictions.parquet").set_index("series_uid")
    rows = np.flatnonzero(datamodule.records["partition"].isin(["val", "test"]))
    batch = datamodule.evaluation_batch(rows.astype(np.int64))
    return batch["image"], table.loc[datamodule.records["series_uid"].iloc[rows]]


def test_an_exported_run_gives_the_logits_of_its_table(place: Path) -> None:
    call("export", place, "run=one", "formats=[safetensors,onnx,torch_export,torchscript]")
    image, table = evaluation_rows(place / "runs/one")
    assert len(table) > 30
    calibrator = read_calibration(place / "runs/one/calibration.json").single
    for suffix in (".safetensors", ".onnx", ".pt2", ".ts.pt"):
        loaded = load_exported(place / f"exports/one{suffix}")
        with torch.inference_mode():
            logit = loaded.net(image)[:, 0].numpy()
        np.testing.assert_allclose(logit, table["logit"], rtol=1e-5, atol=1e-5, err_msg=suffix)
        if suffix != ".safetensors":
            with torch.inference_mode():
                probability = loaded.net.answers(image)[1].numpy()  # type: ignore[operator]
            expected = table["probability"] if calibrator is None else calibrator.probability(table["logit"])
            np.testing.assert_allclose(probability, expected, atol=1e-5, err_msg=suffix)
    card = json.loads((place / "exports/one.json").read_text())
    assert card["training"]["predictions_again"]["n_rows"] == 32
    assert card["training"]["predictions_again"]["max_abs_difference"] < 1e-5
    assert card["output"]["class_names"] == ["normal", "tumor"]
    assert card["input"]["size_hw"] == [48, 48]
    assert card["metrics"]["test"]["auroc"]["value"] is not None


def test_an_ensemble_is_a_run(place: Path) -> None:
    one, two, both = (read_predictions(place / f"runs/{name}/predictions.parquet") for name in ("one", "two", "both"))
    keys = ["series_uid", "partition", "label"]
    assert both[keys].equals(one[keys])
    np.testing.assert_allclose(both["logit"], (one["logit"] + two["logit"]) / 2, rtol=1e-6)
    assert (one["logit"] - two["logit"]).abs().max() > 0.1, "the members differ"
    provenance = json.loads((place / "runs/both/provenance.json").read_text())
    assert [member["seed"] for member in provenance["members"]] == [0, 1]
    assert provenance["split_hash"] == json.loads((place / "runs/one/provenance.json").read_text())["split_hash"]
    report = json.loads((place / "runs/both/report.json").read_text())
    assert report["ranking"]["test"]["auroc"]["value"] >= 0
    assert (place / "runs/both/report.html").is_file()
    call("eval", place, "run=both", "evaluation.n_resamples=50")
    call("compare", place, "runs=[one,both]", "out=compared", "evaluation.n_resamples=200")
    assert (place / "compared/compare.html").is_file()


def test_an_ensemble_leaves_as_one_file(place: Path) -> None:
    call("export", place, "run=both", "formats=[onnx,safetensors]")
    image, table = evaluation_rows(place / "runs/both")
    for suffix in (".onnx", ".safetensors"):
        loaded = load_exported(place / f"exports/both{suffix}")
        with torch.inference_mode():
            np.testing.assert_allclose(loaded.net(image)[:, 0], table["logit"], rtol=1e-5, atol=1e-5)
    assert loaded.card.image_input.inside[0] == "It averages the logits of 2 networks."
    assert [member["seed"] for member in loaded.card.training["members"]] == [0, 1]
    assert loaded.card.training["run"] == "both"
    assert loaded.card.training["predictions_again"]["max_abs_difference"] < 1e-5
    calibrated = read_calibration(place / "runs/both/calibration.json").single is not None
    assert (loaded.card.calibration is not None) == calibrated
    assert loaded.card.metrics["test"]["auroc"] is not None


@pytest.mark.parametrize("reference", ["one", "both", "exports/both.onnx"])
def test_image_files_are_scored_as_the_runs_own_rows(reference: str, place: Path, tmp_path: Path) -> None:
    """From the file to the probability: the same pictures, read, prepared and scored again."""
    name = "both" if "both" in reference else "one"
    call("predict", place, f"run={reference}", f"images={place}/cohorts/ensembled/train", f"out={tmp_path}")
    scores = pd.read_csv(tmp_path / "scores.csv", dtype={"id": str}).set_index("id")
    table = read_predictions(place / f"runs/{name}/predictions.parquet").set_index("series_uid")
    assert len(scores) == 72
    np.testing.assert_allclose(scores.loc[table.index, "logit"], table["logit"], rtol=1e-4, atol=1e-5)
    calibrator = read_calibration(place / f"runs/{name}/calibration.json").single
    expected = table["probability"] if calibrator is None else calibrator.probability(table["logit"])
    np.testing.assert_allclose(scores.loc[table.index, "probability"], expected, atol=1e-5)
    submission = pd.read_csv(tmp_path / "submission.csv", dtype={"id": str})
    assert list(submission) == ["id", "label"]
    np.testing.assert_allclose(submission["label"], scores["probability"], atol=1e-12)


def test_the_lines_of_the_documentation(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lines with lungdet; those without it give the same where a picture has the stored size."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    with_lungdet, without, covering = (
        next(block for block in blocks if word in block)
        for word in ("load_image_classifier", "onnxruntime", "ImageOps")
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "to").mkdir()
    for name in ("xrays", "patches"):
        shutil.copyfile(place / "exports/both.onnx", tmp_path / f"to/{name}.onnx")
        shutil.copyfile(place / "exports/both.json", tmp_path / f"to/{name}.json")
    card = tmp_path / "to/xrays.json"
    card.write_text(card.read_text().replace("both.onnx", "xrays.onnx"))
    files = sorted((place / "cohorts/ensembled/train").iterdir())[:2]
    for file, target in zip(files, ("a.jpeg", "b.jpeg"), strict=True):
        Image.open(file).crop((0, 0, 48, 48)).save(tmp_path / target, format="png")
    shutil.copyfile("a.jpeg", "patch.tif")
    shutil.copyfile(files[0], "xray.jpeg")
    names: dict[str, Any] = {}
    exec(with_lungdet, names)
    assert names["probabilities"].shape == (2,)
    exec(without, names)
    np.testing.assert_allclose(names["probability"], names["probabilities"][:1], atol=1e-6)
    exec(covering, names)
    assert names["batch"].shape == (1, 1, 48, 48)
    assert names["classifier"].predict([]).shape == (0,)


def test_what_does_not_go_together_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(command: str, *arguments: str) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit, match="2"):
            call(command, place, *arguments)
        return capsys.readouterr().err

    assert "both is an ensemble itself; give its members: one, two" in refused("ensemble", "runs=[one,both]", "out=x")
    assert "runs: an ensemble takes at least two, got 1" in refused("ensemble", "runs=[one]", "out=x")
    assert "is not empty; choose another folder" in refused("ensemble", "runs=[one,two]", "out=runs/both")
    assert "both is an ensemble, its rows are scored; add images=" in refused("predict", "run=both")
    assert "is an ensemble, which has no checkpoint of its own" in refused("export", "run=both", "checkpoint=last")
    other = Path(shutil.copytree(place / "runs/two", place / "runs/other"))
    table = read_predictions(other / "predictions.parquet")
    write_predictions(table[table["partition"] == "val"].iloc[1:], other / "predictions.parquet")
    message = refused("ensemble", "runs=[one,other]", "out=x")
    assert "one and other were not evaluated on the same val rows" in message
    assert "for new images alone add rows=none" in message
    call("ensemble", place, "runs=[one,other]", "out=folds", "rows=none")
    assert not (place / "folds/predictions.parquet").exists()
    call("predict", place, "run=folds", f"images={place}/cohorts/ensembled/train", "out=folds.csv")
    scores = pd.read_csv(place / "folds_scores.csv")
    assert len(scores) == 72
    np.testing.assert_allclose(scores["probability"], scores["raw_probability"])


def test_a_member_that_changed_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(place / "runs/two", place / "runs/two_again")
    call("ensemble", place, "runs=[one,two_again]", f"out={tmp_path}/e", "rows=none")
    shutil.copyfile(place / "runs/one/checkpoints/best.ckpt", place / "runs/two_again/checkpoints/best.ckpt")
    with pytest.raises(SystemExit, match="2"):
        call("export", place, f"run={tmp_path}/e")
    assert "best.ckpt is not the checkpoint that the ensemble was made of" in capsys.readouterr().err
    (place / "runs/two_again/checkpoints/best.ckpt").unlink()
    with pytest.raises(SystemExit, match="2"):
        call("export", place, f"run={tmp_path}/e")
    assert "two_again/checkpoints/best.ckpt of a member is gone" in capsys.readouterr().err
