"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
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
