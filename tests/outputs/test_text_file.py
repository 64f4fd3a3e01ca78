"""Whole files or none, and JSON that is the same for the same record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lungdet.outputs.text_file import json_text, write_text


def test_folders_are_made_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = write_text("é\n", tmp_path / "a" / "b.txt")
    assert path.read_bytes() == "é\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]


def test_an_interrupted_writing_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text("first", tmp_path / "b.txt")

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space left"):
        write_text("second", path)
    assert path.read_text() == "first"


def test_json_is_sorted_and_strict() -> None:
    record = {"b": np.float32(0.1), "a": (np.nan, np.inf, 1, np.int64(2)), "c": {"y": None, "x": np.array([True])}}
    text = json_text(record)
    assert text.endswith("}\n")
    back = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(back) == ["a", "b", "c"]
    assert back == {"a": [None, None, 1, 2], "b": float(np.float32(0.1)), "c": {"x": [True], "y": None}}
