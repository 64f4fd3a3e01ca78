"""As many arrays stay open as fit, and the first opened goes first."""

from __future__ import annotations

import resource
from typing import cast

import pytest

from lungdet.store import open_arrays
from lungdet.store.open_arrays import OpenArrays, most_open
from lungdet.store.shard import ArrayReader


def test_the_first_opened_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_arrays, "OPEN_ARRAYS", 2)
    kept, readers = OpenArrays(), [cast(ArrayReader, object()) for _ in range(3)]
    for uid, reader in zip("abc", readers, strict=True):
        kept.keep((uid, "hu"), reader)
        assert kept.get((uid, "hu")) is reader
    assert len(kept) == 2
    assert [(uid, "hu") in kept for uid in "abc"] == [False, True, True]
    assert kept.get(("a", "hu")) is None
    assert kept.get(("b", "lung_mask")) is None


@pytest.mark.parametrize(
    ("limits", "refused", "expected", "asked"),
    [
        ((1024, 4096), False, 2048, [(4096, 4096)]),
        ((1024, 2048), False, 1024, [(2048, 2048)]),
        ((1024, resource.RLIM_INFINITY), False, 2048, [(4096, resource.RLIM_INFINITY)]),
        ((1024, 4096), True, 512, [(4096, 4096)]),
        ((20000, 20000), False, 2048, []),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), False, 2048, []),
        ((1, 1), False, 1, [(1, 1)]),
    ],
)
def test_as_many_files_stay_open_as_the_system_allows(
    limits: tuple[int, int],
    refused: bool,
    expected: int,
    asked: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = []

    def setrlimit(_: int, wanted: tuple[int, int]) -> None:
        told.append(wanted)
        if refused:
            raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert most_open() == expected
    assert told == asked
