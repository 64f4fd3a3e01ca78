"""Fixtures that every room's tests may use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path

import pytest
from tests.object_server import s3_for_tests
from tests.surroundings import environment_kept

from lungdet.bench.s3_server import S3Server


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder with real scans, or a skip that says how to provide it."""
    named = os.environ.get("LUNGDET_REALDATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not (folder / "luna16").is_dir():
        pytest.skip(f"no real scans at {folder}: set LUNGDET_REALDATA to the folder that holds luna16/ and dicom/")
    return folder


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server in this process with one empty bucket, `s3://bucket`."""
    pytest.importorskip("moto", reason="moto[server] is a development dependency")
    pytest.importorskip("obstore", reason="obstore is the extra 'objects'")
    # A forkserver that another test has started would hand the address of that test's server to loader workers.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    with s3_for_tests(monkeypatch, tmp_path_factory.mktemp("cache")) as server:
        yield server


@pytest.fixture(autouse=True)
def _environment_left_as_found() -> Iterator[None]:
    with environment_kept():
        yield


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
