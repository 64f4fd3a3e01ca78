"""Where conf/ lies: beside pyproject.toml in a checkout, inside the package in an installed wheel."""

from __future__ import annotations

from pathlib import Path

from lungdet.errors import MissingFileError


def conf_folder() -> Path:
    """The folder of YAML files that every command composes from.

    Raises:
        MissingFileError: neither a checkout nor a complete wheel.
    """
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1]
    # A checkout wins, so that an edited YAML file takes effect even where an older wheel left its copy behind.
    candidates = [checkout / "conf"] if (checkout / "pyproject.toml").is_file() else []
    candidates.append(package / "conf")
    for folder in candidates:
        if (folder / "train.yaml").is_file():
            return folder
    raise MissingFileError(f"no conf/train.yaml in {' or '.join(map(str, candidates))}: reinstall lungdet")
