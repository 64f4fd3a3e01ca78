"""What a run says about code, packages and hardware."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
from pathlib import Path

import pytest

from lungdet.training import environment
from lungdet.training.environment import describe_environment, write_environment
from lungdet.training.run_directory import RunDirectory


def test_environment_names_code_packages_and_hardware() -> None:
    record = describe_environment()
    assert record["packages"]["torch"]
    assert record["hardware"]["cpu_count"] == os.cpu_count()
    json.dumps(record)


def test_outside_a_checkout_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lungdet.__file__", str(tmp_path / "site-packages" / "lungdet" / "__init__.py"))
    assert describe_environment()["git_commit"] is None


def test_an_unknown_package_has_no_version() -> None:
    assert environment._version("surely-not-installed") is None


def test_every_package_is_listed_as_pip_takes_it(tmp_path: Path) -> None:
    write_environment(RunDirectory(tmp_path))
    lines = (tmp_path / "environment.txt").read_text().splitlines()
    assert f"numpy=={importlib.metadata.version('numpy')}" in lines
    assert all("==" in line for line in lines[1:])


def test_uncommitted_changes_are_kept_and_disappear_with_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "src" / "lungdet").mkdir(parents=True)
    code = checkout / "src" / "lungdet" / "__init__.py"
    code.write_text("a = 1\n")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "c"]):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    monkeypatch.setattr("lungdet.__file__", str(code))
    code.write_text("a = 2\n")
    run = RunDirectory(tmp_path)
    write_environment(run)
    assert "+a = 2" in run.changes.read_text()
    assert describe_environment()["git_changes_hash"]
    code.write_text("a = 1\n")
    write_environment(run)
    assert not run.changes.exists()
    assert describe_environment()["git_changes_hash"] is None
