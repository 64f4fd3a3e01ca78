"""The record of the machine can be written as JSON and names processor and versions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lungdet.bench import machine as module
from lungdet.bench.machine import machine


def test_names_processor_and_versions() -> None:
    record = json.loads(json.dumps(machine()))
    assert record["packages"]["numpy"] == np.__version__
    assert record["cores"] >= 1
    assert record["processor"]
    assert len(record["load_average"]) == 3


def test_without_proc_the_platform_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Path", lambda _: tmp_path / "none")
    monkeypatch.setattr("platform.processor", lambda: "a processor")
    assert machine()["processor"] == "a processor"
