"""`lungdet detect` in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.chests import run_detect


@pytest.fixture
def detecting(tmp_path: Path) -> Callable[..., None]:
    """`detecting("input=scan.mhd")` in the test's own folder."""
    return lambda *arguments: run_detect(tmp_path, *arguments)


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The same, expecting exit code 2 and one message on stderr, which it gives."""

    def call(*arguments: str) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            run_detect(tmp_path, *arguments)
        assert stopped.value.code == 2
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return said.err[said.err.rindex("lungdet: ") :]

    return call
