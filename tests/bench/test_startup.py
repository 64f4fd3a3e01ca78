"""What is started is what is said, and a start that fails is no figure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lungdet.bench import startup as module


def test_the_commands_are_those_of_the_console(tmp_path: Path) -> None:
    def output(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", module._MAIN, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert output("--help").startswith("lungdet ")
    composed = output("train", "--cfg", "job")
    assert "_target_: lungdet." in composed
    assert "trainer:" in composed


def test_composing_a_configuration_imports_no_torch(tmp_path: Path) -> None:
    """What keeps `python train.py --cfg job` under three seconds; see tests/cli/test_main.py for help."""
    code = f"import atexit; atexit.register(lambda: print('modules', sorted(sys.modules))); {module._MAIN}"
    done = subprocess.run(
        [sys.executable, "-c", code, "train", "--cfg", "job"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.splitlines()[-1]
    assert loaded.startswith("modules ")
    assert "'hydra'" in loaded
    for package in ("torch", "pytorch_lightning", "pandas", "zarr", "monai", "SimpleITK"):
        assert f"'{package}'" not in loaded, f"{package} is imported to compose a configuration"


def test_measures_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_EVERYTHING", "pass")
    monkeypatch.setattr(module, "_started", lambda code, folder, *arguments: lambda number: 1.0 + len(arguments))
    lines = module.measure(quick=True, folder=tmp_path)
    assert [line.name for line in lines] == [module.EAGER, module.TORCH, module.HELP, module.COMPOSE]
    assert lines[-1].ratio == 4.0
    assert {line.baseline for line in lines} == {module.EAGER}


def test_a_start_that_fails_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        module._started("raise SystemExit(3)", tmp_path)(0)
