"""Runs of candidates as one; those of pictures are in end_to_end/test_image_ensemble.py."""

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
from tests.cli.small_networks import LUNA, random_net, write_run

from lungdet.cli import ensemble, export
from lungdet.evaluation.calibration import read_calibration
from lungdet.evaluation.predictions import read_predictions, write_predictions
from lungdet.exports.load import load_exported


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds runs/one and runs/two: two networks that scored the same forty candidates."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    label = np.arange(40) % 2
    for seed, name in enumerate(("one", "two")):
        run = write_run(tmp_path / "runs" / name, LUNA, seed=seed, crop=(16, 24, 24))
        record = json.loads((run / "provenance.json").read_text())
        facts = {"checkpoint": "checkpoints/best.ckpt", "classes": ["non_nodule", "nodule"], "seed": seed}
        (run / "provenance.json").write_text(json.dumps({**record, **facts}))
        columns = {
            "series_uid": "1.2",
            "patient_id": "p",
            "candidate_id": np.arange(40),
            **{f"center_{axis}_mm": 0.0 for axis in "xyz"},
            "label": label,
            "diameter_mm": 5.0,
            "logit": (label + random.normal(size=40)).astype(np.float32),
            "fold": 0,
            "partition": np.where(np.arange(40) < 20, "val", "test"),
        }
        write_predictions(pd.DataFrame(columns), run / "predictions.parquet")
    return tmp_path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def run(name: str, *arguments: str) -> None:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        {"ensemble": ensemble, "export": export}[name].main()

    return run


@pytest.mark.filterwarnings("default")
def test_candidates_of_ct(folder: Path, call: Callable[..., None]) -> None:
    call("ensemble", "runs=[one,two]", "out=runs/both", "evaluation.n_resamples=50")
    one, two, both = (read_predictions(folder / f"runs/{name}/predictions.parquet") for name in ("one", "two", "both"))
    np.testing.assert_allclose(both["logit"], (one["logit"] + two["logit"]) / 2, rtol=1e-6)
    call("export", "run=both", "formats=torchscript")
    loaded = load_exported(folder / "exports/both.ts.pt")
    image = torch.rand(2, 1, 16, 24, 24)
    with torch.inference_mode():
        expected = (random_net(LUNA, seed=0)(image) + random_net(LUNA, seed=1)(image)) / 2
        torch.testing.assert_close(loaded.net(image), expected, rtol=1e-5, atol=1e-5)
    assert loaded.card.ct_input.crop_zyx_vox == (16, 24, 24)
    fitted = read_calibration(folder / "runs/both/calibration.json")
    assert fitted.checkpoint == "ensemble.json"
    assert loaded.card.calibration is not None
    assert fitted.single is not None
    assert loaded.card.calibration["parameters"] == fitted.single.to_dict()
    assert set(loaded.card.metrics) == {"val", "test"}


def test_rows_that_differ_are_refused(
    folder: Path, call: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "runs/two/predictions.parquet"
    write_predictions(read_predictions(path).iloc[1:], path)
    with pytest.raises(SystemExit, match="2"):
        call("ensemble", "runs=[one,two]", "out=both")
    said = capsys.readouterr().err
    assert "one and two were not evaluated on the same test rows" in said
    assert "for new images alone add rows=none" in said
    path.unlink()
    with pytest.raises(SystemExit, match="2"):
        call("ensemble", "runs=[one,two]", "out=both")
    assert "two has no predictions.parquet; score its rows: lungdet predict run=two" in capsys.readouterr().err
    assert not (folder / "both").exists()
