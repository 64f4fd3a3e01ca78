"""conf/ is found in a checkout and in an installed wheel."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.config import location
from lungdet.errors import MissingFileError


def test_the_checkout_wins() -> None:
    assert location.conf_folder() == Path(__file__).parents[2] / "conf"


def test_a_wheel_brings_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "site-packages" / "lungdet" / "config" / "location.py"
    (module.parents[1] / "conf").mkdir(parents=True)
    (module.parents[1] / "conf" / "train.yaml").touch()
    monkeypatch.setattr(location, "__file__", str(module))
    assert location.conf_folder() == module.parents[1] / "conf"


def test_a_broken_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(location, "__file__", str(tmp_path / "lungdet" / "config" / "location.py"))
    with pytest.raises(MissingFileError, match="reinstall lungdet"):
        location.conf_folder()
