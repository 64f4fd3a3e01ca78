from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from lungdet.explanations.case_store import CaseStore


def test_what_was_written_comes_back_with_its_bits(tmp_path: Path) -> None:
    store = CaseStore(tmp_path / "cases", key={"a": 1})
    assert store.read("one") is None
    heat = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    store.write("one", {"area": 0.1 + 0.2, "none": math.nan}, heat=heat, mask=heat > 0)
    record, arrays = CaseStore(tmp_path / "cases", key={"a": 1}).read("one") or ({}, {})
    assert record["area"] == 0.1 + 0.2
    assert math.isnan(record["none"])
    assert arrays["heat"].tobytes() == heat.tobytes()
    assert arrays["mask"].dtype == np.bool_
    assert sorted(path.name for path in (tmp_path / "cases").iterdir()) == ["key.json", "one.npz"]


def test_other_settings_are_told_by_name(tmp_path: Path) -> None:
    key = {"explain": {"fill": {"hu": -1000}, "name": "x"}, "device": "cpu"}
    store = CaseStore(tmp_path / "cases", key=key)
    assert store.differences() == []
    store.write("one", {})
    assert CaseStore(tmp_path / "cases", key=key).differences() == []
    other = CaseStore(tmp_path / "cases", key={"explain": {"fill": {"hu": -850}, "name": "x"}, "device": "cuda"})
    assert other.differences() == ["device", "explain.fill.hu"]
    other.clear()
    assert other.differences() == []
    assert other.read("one") is None


def test_files_of_others_are_neither_taken_for_results_nor_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    store = CaseStore(tmp_path, key={})
    assert store.differences() == []
    store.write("one", {})
    (tmp_path / "key.json").unlink()
    assert store.differences() == ["all of them"]
    store.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
