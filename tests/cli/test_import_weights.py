"""The seed book's classifier becomes a run directory that predicts; a run is never overwritten."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from lungdet.cli import import_weights
from lungdet.nets.luna import LunaModel


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A file in the book's format, with weights of our own."""
    torch.manual_seed(0)
    torch.save({"model_state": LunaModel().state_dict()}, tmp_path / "cls.state")
    return tmp_path / "cls.state"


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    GlobalHydra.instance().clear()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["import_weights.py", *arguments])
    import_weights.main()


def test_weights_and_input_contract_are_kept(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch, f"source={state}", "out=book")
    cfg = OmegaConf.load(tmp_path / "book" / "config.yaml")
    assert OmegaConf.select(cfg, "data.window.scale") == "hu"
    assert OmegaConf.select(cfg, "data.store.spacing_mm") == "native"
    kept = torch.load(tmp_path / "book" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    given = torch.load(state, weights_only=True)["model_state"]
    assert given
    assert all(torch.equal(kept[f"net.{name}"], value) for name, value in given.items())


def test_a_run_is_not_overwritten(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, monkeypatch, f"source={state}", "out=book")
    before = (tmp_path / "book" / "config.yaml").read_bytes()
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, monkeypatch, f"source={state}", "out=book")
    assert "already holds a run; choose another folder with out=" in capsys.readouterr().err
    assert (tmp_path / "book" / "config.yaml").read_bytes() == before


def test_a_wrong_file_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cls.state").write_text("no weights")
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, monkeypatch, "source=cls.state", "out=book")
    assert "cls.state" in capsys.readouterr().err
    assert not (tmp_path / "book").exists()
