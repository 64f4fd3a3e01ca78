"""The environment that `make setup` builds: the packages whose binary parts must fit each other load and work."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("package", ["torchvision", "timm", "monai"])
def test_it_imports_beside_this_torch(package: str) -> None:
    assert __import__(package).__version__


def test_torchvision_operators_are_there() -> None:
    """A torchvision built for another torch fails here: 'operator torchvision::nms does not exist'."""
    from torchvision.ops import nms

    kept = nms(torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.9], [5.0, 5.0, 6.0, 6.0]]), torch.ones(3), 0.5)
    assert kept.tolist() == [0, 2]


def test_every_requirement_is_pinned() -> None:
    pinned = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split("\n")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *[r for extra in project["optional-dependencies"].values() for r in extra]]
    names = {requirement.split(">=")[0].split("[")[0].lower().replace("_", "-") for requirement in wanted}
    assert names <= pinned


def test_the_pins_name_no_address() -> None:
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_the_console_command_is_installed() -> None:
    commands = importlib.metadata.entry_points(group="console_scripts", name="lungdet")
    assert [c.value for c in commands] == ["lungdet.cli:main"]
