"""Every module with `measure` is a benchmark, found without importing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lungdet.bench import catalogue


def test_finds_what_there_is() -> None:
    found = catalogue.benchmarks()
    assert {"crops", "loader", "preprocess"} <= set(found)
    assert "rows" not in found
    for name, line in found.items():
        assert line, f"{name} has no docstring"
        assert callable(catalogue.load(name))


def test_a_new_file_is_a_new_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "froc.py").write_text('"""What it is."""\ndef measure(*, quick, folder): ...\n')
    (tmp_path / "parts.py").write_text("def something(): ...\n")
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    assert catalogue.benchmarks() == {"froc": "What it is."}


def test_listing_imports_none_of_them() -> None:
    code = "import sys; from lungdet.bench.catalogue import benchmarks; benchmarks(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
