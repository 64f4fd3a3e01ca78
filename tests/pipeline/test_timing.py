from __future__ import annotations

import time

import pytest

from lungdet.pipeline.timing import StageClock, describe_seconds


def test_stages_add_up_in_the_order_of_first_use() -> None:
    clock = StageClock()
    for name, pause in (("a", 0.01), ("b", 0.0), ("a", 0.02)):
        with clock.stage(name):
            time.sleep(pause)
    assert list(clock.seconds) == ["a", "b"]
    assert clock.seconds["a"] >= 0.03
    assert clock.seconds["b"] < 0.02


def test_time_counts_when_the_stage_fails() -> None:
    clock = StageClock()
    with pytest.raises(ValueError, match="no"), clock.stage("a"):
        raise ValueError("no")
    assert "a" in clock.seconds


def test_every_stage_is_told() -> None:
    assert describe_seconds({"lungs": 0.449, "segment": 12.35}) == "12.8 s: lungs 0.4, segment 12.3"
    assert describe_seconds({}) == "0.0 s"
