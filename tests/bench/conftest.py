"""Scans so small that a benchmark of them takes a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lungdet.bench.drawn.scans import Collection
from lungdet.bench.drawn.volumes import Volumes, prepare
from lungdet.bench.rows import Contender, interleave

TINY = Collection(2, (40, 70, 66), (1.0, 1.0, 1.5))


@pytest.fixture
def tiny() -> Collection:
    return TINY


@pytest.fixture(scope="session")
def bench_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="session")
def volumes(bench_folder: Path) -> Volumes:
    return prepare(bench_folder, TINY)


@pytest.fixture
def shrink(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Make the quick collection of a benchmark's module the tiny one, and measure one round."""

    def one_round(contenders: Mapping[str, Contender], **_: object) -> dict[str, list[float]]:
        return interleave(contenders, rounds=1, warm_up=False)

    def replace(module: object) -> None:
        monkeypatch.setattr(module, "QUICK", TINY)
        monkeypatch.setattr(module, "interleave", one_round)

    return replace
