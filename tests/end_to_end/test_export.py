"""A trained network leaves the project in every format and scores the run's own candidates as before."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lungdet.cli.eval import open_data
from lungdet.evaluation.calibration import read_calibration
from lungdet.evaluation.predictions import read_predictions
from lungdet.exports.load import FORMATS, load_exported
from lungdet.metrics.calibrators import Platt
from lungdet.training.run_directory import RunDirectory

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")


def test_a_trained_run_in_every_format(
    train: Callable[..., Path], lungdet: Callable[..., None], tmp_path: Path
) -> None:
    run = train("exported", "trainer.max_epochs=1")
    # An epoch on eight scans need not rank well enough for a fit: the parameters are written, as eval writes them.
    calibrator = Platt(0.8, -1.4)
    fitted = read_calibration(run / "calibration.json")
    fit = dataclasses.replace(fitted.fits[0], calibrator=calibrator, reason="")
    RunDirectory(run).write_json(run / "calibration.json", dataclasses.replace(fitted, fits=(fit,)).to_dict())
    lungdet("export", f"run={run}", f"out={tmp_path}", f"formats=[{','.join(FORMATS)}]")
    predictions = read_predictions(run / "predictions.parquet").set_index("candidate_id")["logit"]
    datamodule, reason = open_data(RunDirectory(run))
    assert datamodule is not None, reason
    batch = datamodule.on_after_batch_transfer(next(iter(datamodule.predict_dataloader()[0])), 0)
    candidates = datamodule.records.loc[batch["index"].numpy(), "candidate_id"]
    expected = predictions.loc[candidates].to_numpy()
    for name, form in FORMATS.items():
        loaded = load_exported(tmp_path / f"exported{form.suffix}")
        assert loaded.card.output.logit == "outputs[:, 1] - outputs[:, 0]"
        with torch.inference_mode():
            outputs = loaded.net(batch["image"]).numpy()
        assert np.allclose(outputs[:, 1] - outputs[:, 0], expected, atol=1e-5), name
        if form.holds_graph:
            with torch.inference_mode():
                probability = loaded.net.answers(batch["image"])[1].numpy()  # type: ignore[operator]
            assert np.allclose(probability, calibrator.probability(expected), atol=1e-5), name
            assert loaded.card.files[name].parity["probability"]["max_abs_difference"] < 1e-6
    provenance = json.loads((run / "provenance.json").read_text())
    report = json.loads((run / "report.json").read_text())
    for key in ("split_hash", "split_rule", "store_fingerprint", "seed", "git_commit"):
        assert loaded.card.training[key] == provenance[key]
    assert loaded.card.metrics["test"]["auroc"]["value"] == report["ranking"]["test"]["auroc"]["value"]
