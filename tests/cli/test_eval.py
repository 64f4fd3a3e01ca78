"""Where the report's pictures come from, and what is said when they cannot come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from tests.evaluation.conftest import simulated_images, synthetic_crop, synthetic_image
from tests.pages import Page

from lungdet.cli.eval import evaluate_run, open_data, picture_loader
from lungdet.errors import ConfigError
from lungdet.evaluation.predictions import write_predictions
from lungdet.evaluation.shown import WholeImage
from lungdet.training.run_directory import RunDirectory


def run_with(folder: Path, text: str | None) -> RunDirectory:
    run = RunDirectory(folder)
    if text is not None:
        run.config.write_text(text)
    return run


def test_a_run_without_configuration(tmp_path: Path) -> None:
    assert open_data(run_with(tmp_path, None)) == (
        None,
        "the run has no config.yaml, so nobody knows where its data are.",
    )


def test_imported_weights_have_no_data(tmp_path: Path) -> None:
    assert open_data(run_with(tmp_path, "data: {}")) == (None, "imported weights have no data of their own.")


@pytest.mark.parametrize("reason", ["store", "split"])
def test_a_store_that_is_gone_or_a_rule_that_refuses_is_the_reason(
    reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from hydra import compose, initialize_config_dir

    from lungdet.config import conf_folder

    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = compose("train", overrides=["data=luna16", f"paths.root={tmp_path}", f"data.root={tmp_path}"])
    if reason == "split":
        cfg.split.fold = 99
    datamodule, said = open_data(run_with(tmp_path, OmegaConf.to_yaml(cfg, resolve=True)))
    assert datamodule is None
    assert ("no store at" in said) if reason == "store" else ("fold" in said)
    assert "no pictures in the report" in caplog.text


# --- runs on images -------------------------------------------------------------------------------------------------


class StoredImages:
    """What the report asks an `ImageDataModule` for."""

    def load_image(self, row: Any) -> np.ndarray:
        return synthetic_image(row)


def image_run(folder: Path) -> RunDirectory:
    """A finished training on chest X-rays, without its report."""
    run = RunDirectory(folder)
    table = simulated_images()
    rng = np.random.default_rng(0)
    write_predictions(table, run.predictions)
    for path, noise in ((run.baseline, 4.0), (run.frozen_features, 1.0)):
        logit = table["logit"] + rng.normal(0, noise, len(table))
        write_predictions(table.assign(logit=logit.astype(np.float32)), path)
    provenance = {
        "classes": ["normal", "pneumonia"],
        "item": "chest X-ray",
        "items": "chest X-rays",
        "baseline": "logistic regression on grey levels",
    }
    run.write_json(run.provenance, provenance)
    return run


def evaluation(**given: Any) -> DictConfig:
    cfg = {"n_resamples": 50, "seed": 0, "recalls": [0.9, 0.97], "n_gallery": 2, "calibration": "platt"}
    return OmegaConf.create(cfg | given)


def test_a_run_on_images_from_tables_to_report(tmp_path: Path) -> None:
    run = image_run(tmp_path)
    evaluate_run(run, evaluation(), datamodule=StoredImages())
    record = json.loads(run.report.read_text())
    assert record["classes"] == ["normal", "pneumonia"]
    names = ["logistic regression on grey levels", "logistic regression on the frozen backbone's features"]
    assert [row["name"] for row in record["baselines"]] == names
    assert all(row["auroc_difference"]["low"] is not None for row in record["baselines"])
    assert record["roc_points"]["recall_97"]["aim"] == 0.97
    page = Page(run.report_html.read_text())
    assert page.tags["image"] == 3 * 4
    assert "A pneumonia chest X-ray outranks a normal one" in page.text
    assert (tmp_path / "false_positives.png").is_file()
    first = run.report.read_bytes()
    evaluate_run(run, evaluation(), datamodule=StoredImages())
    assert run.report.read_bytes() == first


def test_the_images_of_an_evaluated_run_may_be_gone(tmp_path: Path) -> None:
    run = image_run(tmp_path)
    evaluate_run(run, evaluation(recalls=[0.8]))
    text = Page(run.report_html.read_text()).text
    assert "Pictures are left out: the run has no config.yaml, so nobody knows where its data are." in text
    assert json.loads(run.report.read_text())["headline"] == "recall_80"


def test_recalls_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.recalls"):
        evaluate_run(image_run(tmp_path), evaluation(recalls=[97]), datamodule=StoredImages())


def test_pictures_follow_the_kind_of_data() -> None:
    class StoredScans:
        load_crop = staticmethod(synthetic_crop)

    row = {"candidate_id": 3, "label": 0}
    assert len(picture_loader(StoredScans())(row)) == 3
    (shown,) = picture_loader(StoredImages())(row)
    assert isinstance(shown, WholeImage)
