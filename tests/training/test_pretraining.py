"""Who trained the network that another one starts from, read from the split beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.data.partitions import Split
from lungdet.training.pretraining import held_out_but_seen


def make_split(train: str, val: str, test: str) -> Split:
    return Split(train=tuple(train), val=tuple(val), test=tuple(test), rule="by hand", fold=None, seed=0, notes=())


def test_training_patients_of_then_that_are_held_out_now(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = tmp_path / "checkpoints" / "best.ckpt"
    (tmp_path / "split.json").write_text(make_split("abcd", "e", "f").to_json())
    assert held_out_but_seen(weights, make_split("abcd", "e", "f")) == []
    assert held_out_but_seen(weights, make_split("abce", "f", "d")) == ["d"]
    assert held_out_but_seen(weights, make_split("ef", "db", "ac")) == ["a", "b", "c", "d"]
    assert "was trained on 4 patients that validate or test here: a, b, c, d" in caplog.text


def test_weights_without_a_split_are_unknown(tmp_path: Path) -> None:
    assert held_out_but_seen(tmp_path / "checkpoints" / "best.ckpt", make_split("a", "b", "c")) is None
