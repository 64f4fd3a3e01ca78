"""The bar counts, and its rate is scans a minute."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lungdet.cli.progress import RateColumn, scan_progress


def test_the_rate_is_per_minute() -> None:
    task: Any = SimpleNamespace(elapsed=30.0, completed=24)
    assert RateColumn().render(task).plain == "48 scans/min"
    assert RateColumn().render(SimpleNamespace(elapsed=None, completed=0)).plain == ""  # type: ignore[arg-type]


def test_the_bar_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with scan_progress("preprocess", total=3) as advance:
        for n in range(3):
            advance(n + 1, 3, "uid")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "preprocess" in shown.err
    assert "3/3" in shown.err
