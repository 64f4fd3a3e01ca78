"""Fixtures that every room's tests may use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder with real scans, or a skip that says how to provide it."""
    named = os.environ.get("LUNGDET_REALDATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "luna16").is_dir():
        pytest.skip(f"no real scans at {folder}: set LUNGDET_REALDATA to the folder that holds luna16/ and dicom/")
    return folder


@pytest.fixture(autouse=True)
def _logging_left_as_found() -> Iterator[None]:
    """A command run in this process lets Hydra set up logging on a stream that pytest closes after the test."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
