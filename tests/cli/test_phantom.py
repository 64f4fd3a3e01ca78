"""`lungdet phantom` of a collection that is not simulated."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from lungdet.cli import phantom


def test_a_collection_that_is_not_simulated_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["phantom.py", "data=luna16"])
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit, match="2"):
        phantom.main()
    assert "data: nothing here is simulated; type data=phantom, chest_xray_phantom or" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
