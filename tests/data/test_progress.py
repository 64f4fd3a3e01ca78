"""The progress of a program without a terminal takes what a bar takes."""

from __future__ import annotations

import inspect

import pytest

from lungdet.cli.progress import scan_progress
from lungdet.data.progress import silent


def test_it_is_called_like_a_bar_and_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with silent("preprocess", total=3, items="images") as advance:
        advance(1, 3, "a.png")
        advance(3, 3)
    assert capsys.readouterr() == ("", "")


def test_a_command_can_put_its_bar_in_its_place() -> None:
    taken, given = (inspect.signature(progress).parameters for progress in (silent, scan_progress))
    assert {name: (p.kind, p.default) for name, p in taken.items()} == {
        name: (given[name].kind, given[name].default) for name in taken
    }
