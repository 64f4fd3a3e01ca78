"""Where the report's pictures come from, and what is said when they cannot come."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lungdet.cli.eval import open_data
from lungdet.training.run_directory import RunDirectory


def run_with(folder: Path, text: str | None) -> RunDirectory:
    run = RunDirectory(folder)
    if text is not None:
        run.config.write_text(text)
    return run


def test_a_run_without_configuration(tmp_path: Path) -> None:
    assert open_data(run_with(tmp_path, None)) == (
        None,
        "the run has no config.yaml, so nobody knows where its scans are.",
    )


def test_imported_weights_have_no_scans(tmp_path: Path) -> None:
    assert open_data(run_with(tmp_path, "data: {}")) == (None, "imported weights have no scans of their own.")


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
