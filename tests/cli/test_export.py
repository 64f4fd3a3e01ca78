"""A run directory becomes files; whatever is wrong is one message and leaves nothing behind."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from lungdet.cli import export, import_weights
from lungdet.cli.export import FORMULAS
from lungdet.cli.networks import calibrator_of, load_network
from lungdet.errors import RunError
from lungdet.evaluation.calibration import fit_calibration, read_calibration
from lungdet.evaluation.predictions import write_predictions
from lungdet.exports.load import FORMATS, load_exported
from lungdet.metrics.calibrators import Calibrator, Isotonic, Platt, Temperature, fit_calibrator
from lungdet.nets.book_weights import load_book_classifier
from lungdet.nets.luna import LunaModel
from lungdet.pipeline.book import CROP
from lungdet.pipeline.calibrated import CalibratedNetwork
from lungdet.pipeline.crops import apply_window
from lungdet.training.run_directory import RunDirectory

CONFIG = """
data:
  _target_: lungdet.data.luna16.Luna16DataModule
  store: {spacing_mm: [1.0, 1.0, 1.0]}
  crop: {_target_: lungdet.store.schema.CropSize, vox: null, mm: [16, 16, 16]}
  window: {_target_: lungdet.data.intensity.Window, range_hu: [-1000, 400], scale: unit}
model:
  _target_: lungdet.tasks.candidate_classification.CandidateClassification
  net: {_target_: lungdet.nets.luna.LunaModel, conv_channels: 2, n_classes: 1}
seed: 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds runs/mine, a run as training leaves it, as far as an export reads it."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "mine"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.yaml").write_text(CONFIG)
    torch.manual_seed(1)
    state = LunaModel(conv_channels=2, n_classes=1).state_dict()
    for name, value in (("best", 0.5), ("last", 0.25)):
        weights = {**state, "head_linear.bias": torch.tensor([value])}
        checkpoint = {"state_dict": {**{f"net.{k}": v for k, v in weights.items()}, "samples_seen": torch.tensor(7)}}
        torch.save(checkpoint, run / "checkpoints" / f"{name}.ckpt")
    (run / "provenance.json").write_text('{"split_hash": "5p", "checkpoint": "checkpoints/best.ckpt"}')
    (run / "report.json").write_text('{"ranking": {"test": {"auroc": {"value": 0.9, "low": 0.8, "high": 1.0}}}}')
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def call(*arguments: str) -> None:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["export.py", *arguments])
        export.main()

    return call


def test_the_newest_run_is_exported_by_default(folder: Path, run: Callable[..., None]) -> None:
    run()
    loaded = load_exported(folder / "exports" / "mine.safetensors")
    assert (loaded.card.ct_input.crop_zyx_vox, loaded.card.output.channels) == ((16, 16, 16), 1)
    assert loaded.card.training["split_hash"] == "5p"
    assert loaded.card.metrics == {"test": {"auroc": {"value": 0.9, "low": 0.8, "high": 1.0}}}
    assert loaded.net.get_parameter("head_linear.bias").tolist() == [0.5]
    assert {p.name for p in (folder / "exports").iterdir()} == {"mine.safetensors", "mine.json"}


def test_the_card_carries_the_calibration_of_its_checkpoint(folder: Path, run: Callable[..., None]) -> None:
    table = pd.DataFrame({"logit": [0.0, 1.0, 2.0, 3.0], "label": [0, 1, 0, 1], "fold": 0, "partition": "val"})
    fitted = fit_calibration(table, "isotonic", checkpoint="checkpoints/best.ckpt")
    (folder / "runs" / "mine" / "calibration.json").write_text(json.dumps(fitted.to_dict()))
    run("name=best")
    card = load_exported(folder / "exports" / "best.safetensors").card
    assert card.calibration is not None
    assert (card.calibration["n_rows"], card.calibration["n_positives"]) == (4, 2)
    assert calibrator_of(card) == fitted.single
    assert (
        load_network(
            str(folder / "exports" / "best.safetensors"), role="classifier", checkpoint="best", runs=folder
        ).calibrator
        == fitted.single
    )
    run("checkpoint=last", "name=last")
    assert load_exported(folder / "exports" / "last.safetensors").card.calibration is None


def test_the_graphs_give_what_detect_computes(folder: Path, run: Callable[..., None]) -> None:
    """The network that detect loads from the file is raw: calibrating it again gives the file's probability, once."""
    table = pd.DataFrame(
        {"logit": [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0], "label": [0, 0, 1, 0, 1, 1], "fold": 0, "partition": "val"}
    )
    fitted = fit_calibration(table, "platt", checkpoint="checkpoints/best.ckpt")
    (folder / "runs" / "mine" / "calibration.json").write_text(json.dumps(fitted.to_dict()))
    run("formats=[safetensors,torchscript]")
    reference = str(folder / "exports" / "mine.ts.pt")
    network = load_network(reference, role="classifier", checkpoint="best", runs=folder)
    weights = load_exported(folder / "exports" / "mine.safetensors").net
    image = torch.rand(3, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    assert network.calibrator is not None
    with torch.inference_mode():
        raw = weights(image)
        torch.testing.assert_close(network.net(image), raw)
        once = CalibratedNetwork(network.net, network.calibrator)(image)[:, 0].sigmoid()
        probability = load_exported(reference).net.answers(image)[1]  # type: ignore[operator]
    torch.testing.assert_close(probability, once, atol=1e-6, rtol=0)
    assert (probability - raw[:, 0].sigmoid()).abs().min() > 0.05


def make_clinical(folder: Path, *, with_table: bool = True) -> pd.DataFrame:
    """Make runs/mine one with clinical features, whose fused logits are 2 + 3 times those of the image branch."""
    run = RunDirectory(folder / "runs" / "mine")
    rng = np.random.default_rng(0)
    n = 120
    logit = rng.normal(size=n).astype(np.float32)
    table = pd.DataFrame(
        {
            "series_uid": [f"1.{i}" for i in range(n)],
            "patient_id": [f"P{i}" for i in range(n)],
            "candidate_id": np.arange(n),
            **{f"center_{axis}_mm": 0.0 for axis in "xyz"},
            "label": (rng.uniform(size=n) < 1 / (1 + np.exp(-2 * logit - 1))).astype(np.int8),
            "diameter_mm": 8.0,
            "logit": logit,
            "fold": 0,
            "partition": np.where(np.arange(n) < 80, "val", "test"),
        }
    )
    fused = fit_calibration(table.assign(logit=2 + 3 * logit), "platt", checkpoint="checkpoints/best.ckpt")
    run.write_json(run.calibration, fused.to_dict())
    run.write_json(run.provenance, {"checkpoint": "checkpoints/best.ckpt", "clinical": {"file": "clinical.csv"}})
    if with_table:
        write_predictions(table, run.image_branch)
    return table


def test_the_image_branch_has_a_calibration_of_its_own(
    folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    table = make_clinical(folder)
    run("formats=torchscript")
    assert "platt is fitted to the logits of its image branch alone" in capsys.readouterr().out
    card = load_exported(folder / "exports" / "mine.ts.pt").card
    rows = table[table["partition"] == "val"]
    assert card.calibration is not None
    assert calibrator_of(card) == fit_calibrator("platt", rows["logit"], rows["label"])
    assert (card.calibration["n_rows"], card.calibration["of"]) == (80, "the image branch alone")
    assert card.training["clinical"] == {"file": "clinical.csv"}
    assert card.training["exported_part"].startswith("the image branch alone")
    fused = read_calibration(folder / "runs" / "mine" / "calibration.json").single
    assert isinstance(fused, Platt)
    # Fitted to 2 + 3 x: a third of the slope. Nothing of it may be left in the files.
    assert card.calibration["parameters"]["slope"] == pytest.approx(3 * fused.slope, rel=1e-4)
    # What detect does with the run itself.
    network = load_network(str(folder / "runs" / "mine"), role="classifier", checkpoint="best", runs=folder)
    assert network.calibrator == calibrator_of(card)


def test_without_its_own_logits_the_image_branch_stays_uncalibrated(
    folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    make_clinical(folder, with_table=False)
    run("formats=torchscript")
    assert (
        "the image branch of mine is not calibrated: there is no baseline_image_branch.parquet"
        in capsys.readouterr().out
    )
    card = load_exported(folder / "exports" / "mine.ts.pt").card
    assert card.calibration is None
    assert card.second_output is not None
    assert card.second_output["calibrated"] is False


@pytest.mark.parametrize(
    "calibrator", [Platt(0.5, -1.0), Temperature(2.0), Isotonic((-1.0, 0.0, 2.0), (0.1, 0.2, 0.9))]
)
def test_the_formula_on_the_card_is_what_is_computed(calibrator: Calibrator) -> None:
    """Read as Python: who has the card alone gets the same probabilities."""
    logit = np.linspace(-3, 3, 13)
    known: dict[str, Any] = {"logit": logit, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), **calibrator.to_dict()}
    formula = FORMULAS[calibrator.method].removeprefix("probability = ")
    if calibrator.method == "isotonic":
        assert formula == "linear interpolation of knot_probability over knot_logit, constant outside"
        formula = "interp(logit, knot_logit, knot_probability)"
        known["interp"] = np.interp
    np.testing.assert_allclose(eval(formula, known), calibrator.probability(logit))


def test_a_damaged_calibration_on_a_card_is_refused(folder: Path, run: Callable[..., None]) -> None:
    run()
    card = load_exported(folder / "exports" / "mine.safetensors").card
    for record in ({}, {"parameters": {"method": "platt", "slope": -1, "intercept": 0}}, {"parameters": 3}):
        with pytest.raises(RunError, match="damaged calibration"):
            calibrator_of(dataclasses.replace(card, calibration=record))


def test_checkpoint_name_and_formats_can_be_chosen(
    folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run("run=mine", "checkpoint=last", "name=net-2", "out=to", "formats=torchscript")
    assert "torchscript (net-2.ts.pt): parity " in capsys.readouterr().out
    loaded = load_exported(folder / "to" / "net-2.ts.pt")
    with torch.inference_mode():
        assert loaded.net(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 1)
    assert loaded.card.training["exported_checkpoint"] == "last"
    assert loaded.card.metrics == {}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["formats=[onxx]"], "choose one or several of safetensors, onnx, torch_export, torchscript"),
        (["formats=3"], "formats: expects text or"),
        (["run=elsewhere"], "no run 'elsewhere'"),
        (["checkpoint=first"], "no checkpoint 'first' in"),
        (["name=../mine"], "name='../mine'"),
        (["fomats=[onnx]"], "did you mean 'formats'?"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: list[str], expected: str, folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    assert expected in capsys.readouterr().err
    assert not (folder / "exports").exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("LunaModel", "LunarModel", "luna defines no network 'LunarModel'"),
        ("lungdet.nets.luna.LunaModel", "torch.nn.Linear", "only classes of lungdet.nets"),
        ("conv_channels: 2", "conv_channels: 3", "has shape"),
        ("candidate_classification.C", "regression.C", "can be exported"),
        ("mm: [16, 16, 16]", "mm: null", "crop: give vox or mm"),
        ("  crop:", "  crap:", "does not describe the input of a network: 'crop'"),
        ("  net:", "  nut:", "has no model.net"),
    ],
)
def test_a_run_that_does_not_fit(
    old: str, new: str, expected: str, folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "runs" / "mine" / "config.yaml"
    assert old in CONFIG
    config.write_text(CONFIG.replace(old, new))
    with pytest.raises(SystemExit, match="2"):
        run()
    assert expected in capsys.readouterr().err
    assert not (folder / "exports").exists()


def test_a_diverged_network_is_not_exported(
    folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "runs" / "mine" / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["net.head_linear.bias"][0] = float("nan")
    torch.save(checkpoint, path)
    with pytest.raises(SystemExit, match="2"):
        run()
    assert "head_linear.bias has NaN or infinite weights" in capsys.readouterr().err
    assert not (folder / "exports").exists()


@pytest.mark.realdata
def test_the_books_classifier_leaves_in_every_format(
    realdata: Path, tmp_path: Path, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    (source,) = (realdata / "book_weights").glob("cls_*.state")
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["import_weights.py", f"source={source}", "out=book"])
    import_weights.main()
    run("run=book", "out=to", f"formats=[{','.join(FORMATS)}]")
    hu = torch.randint(-1100, 1200, (2, 1, *CROP.shape_zyx), generator=torch.Generator().manual_seed(0))
    image = apply_window(hu, CROP.window_hu, CROP.scale)
    with torch.inference_mode():
        expected = load_book_classifier(source)(image)
        for name, form in FORMATS.items():
            loaded = load_exported(tmp_path / "to" / f"book{form.suffix}")
            assert torch.allclose(loaded.net(image), expected, atol=1e-4, rtol=0), name
            assert loaded.card.files[name].parity["max_abs_difference"] <= 1e-4
    card = json.loads((tmp_path / "to" / "book.json").read_text())
    assert card["input"]["spacing_zyx_mm"] is None
    assert (card["input"]["window_hu"], card["input"]["scale"]) == ([-1000, 1000], "hu")
    assert card["training"]["source"] == source.name
