"""Parts of an interrupted command: kept for the same key, thrown away for another."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.io.scan_parts import ScanParts


def test_parts_are_found_again_by_the_same_key_only(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    parts = ScanParts(folder, key={"seed": 0, "a": 1})
    assert parts.read("1.2") is None
    parts.write("1.2", {"rows": [[0.1 + 0.2, "x"]]})
    assert ScanParts(folder, key={"a": 1, "seed": 0}).read("1.2") == {"rows": [[0.1 + 0.2, "x"]]}
    assert ScanParts(folder, key={"seed": 1, "a": 1}).read("1.2") is None
    assert not folder.exists()


def test_half_a_part_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ScanParts(tmp_path / "parts", key={})

    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            parts.write("1.2", 1)
    assert parts.read("1.2") is None


def test_removed_when_all_is_done(tmp_path: Path) -> None:
    parts = ScanParts(tmp_path / "parts", key={})
    parts.remove()
    parts.write("1.2", 1)
    parts.remove()
    assert list(tmp_path.iterdir()) == []
