"""Whatever goes wrong with one scan is its failure; other processes find files by their full paths."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from tests.cli.chests import BALL, chest

from lungdet.cli import detect as command
from lungdet.cli.scan_search import ScanSearch, Searched, _absolute, _with_absolute_references, make_search
from lungdet.errors import RunError, ScanError
from lungdet.pipeline.blobs import BlobSource
from lungdet.pipeline.detect import detect
from lungdet.pipeline.recipe import Recipe

FOUND: Any = SimpleNamespace(uid="1.2")


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> ScanSearch:
    cfg: Any = OmegaConf.create({})
    nothing: Any = None
    return ScanSearch(cfg=cfg, detector=nothing, second=None, results=nothing, truth=None)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ScanError("1.2: no slices"), "no slices"),
        (ScanError("3.4: another's"), "3.4: another's"),
        (OSError("disk full"), "disk full"),
        (MemoryError(), "MemoryError"),
        (KeyError("spacing"), "unexpected KeyError: 'spacing'"),
    ],
)
def test_errors_are_the_failure_of_their_scan(
    error: Exception,
    failure: str,
    search: ScanSearch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(command, "search_one", broken)
    assert search.search("1.2", FOUND) == Searched(failure=failure)
    assert ("please report this" in caplog.text) is failure.startswith("unexpected")


def test_what_was_found_is_told(search: ScanSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    found = detect(chest(BALL), Recipe(source=BlobSource(minimum_contrast_hu=450, minimum_roundness=0.6)))
    monkeypatch.setattr(command, "search_one", lambda *_, **__: found)
    told = search.search("1.2", FOUND)
    assert told.failure is None
    assert told.headline
    assert "lungs" in told.seconds


def test_an_interruption_is_no_failure(search: ScanSearch, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "search_one", stopped)
    with pytest.raises(KeyboardInterrupt):
        search.search("1.2", FOUND)


def test_files_that_are_there_get_their_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "net.onnx").touch()
    assert _absolute("net.onnx") == _absolute("~/net.onnx") == str(tmp_path / "net.onnx")
    assert _absolute("latest") == "latest", "the name of a run"
    assert _absolute(None) is None
    cfg = OmegaConf.create(
        {
            "networks": {"segmentation": None, "classifier": ["net.onnx", "latest"], "malignancy": "net.onnx"},
            "annotations": "net.onnx",
            "excluded": None,
            "only": "net.onnx",
        }
    )
    here = str(tmp_path / "net.onnx")
    assert _with_absolute_references(cfg) == {
        "networks": {"segmentation": None, "classifier": [here, "latest"], "malignancy": here},
        "annotations": here,
        "excluded": None,
        "only": "net.onnx",
    }


def test_a_process_with_other_settings_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one whose `latest` run is another."""
    monkeypatch.setattr("lungdet.cli.scan_search.detectors", lambda cfg, networks: (None, None))
    monkeypatch.setattr("lungdet.cli.scan_search.settings_of", lambda *_: {"networks": "new", "n_shown": 3, "own": 1})
    monkeypatch.setattr(command, "load_wanted", lambda cfg: {})
    recipe = {"cfg": {"out": str(tmp_path)}, "settings": {"networks": "old", "n_shown": 3}, "single": None}
    with pytest.raises(RunError, match=r"this process would search with other settings \(.*networks, own.* differ\)"):
        make_search(recipe)
