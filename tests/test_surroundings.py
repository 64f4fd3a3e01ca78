"""A test that writes into the environment costs the others nothing."""

from __future__ import annotations

import os

import pytest
from tests.surroundings import environment_kept


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGDET_CHANGED", "before")
    monkeypatch.setenv("LUNGDET_REMOVED", "before")
    with environment_kept():
        os.environ["LUNGDET_ADDED"] = os.environ["LUNGDET_CHANGED"] = "after"
        del os.environ["LUNGDET_REMOVED"]
    assert "LUNGDET_ADDED" not in os.environ
    assert (os.environ["LUNGDET_CHANGED"], os.environ["LUNGDET_REMOVED"]) == ("before", "before")
