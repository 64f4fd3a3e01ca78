"""The console command itself: help without heavy imports, unknown commands, dispatch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lungdet import __version__, cli


def test_help_lists_every_command_with_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lungdet"])
    cli.main()
    shown = capsys.readouterr().out
    for name, line in cli.commands().items():
        assert line, f"{name} has no docstring"
        assert f"  {name}" in shown
        assert line in shown
    assert {"train", "eval", "preprocess", "phantom"} <= set(cli.commands())


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; sys.argv=['lungdet','--help']; from lungdet.cli import main; main(); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()[-1]
    for package in ("torch", "hydra", "numpy", "pandas"):
        assert f"'{package}'" not in loaded


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["lungdet", "--version"])
    cli.main()
    assert capsys.readouterr().out == f"lungdet {__version__}\n"


def test_an_unknown_command_gets_the_near_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lungdet", "trian"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "there is no command 'trian'; did you mean 'train'?" in capsys.readouterr().err


def test_a_command_runs_with_its_own_file_as_program(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("lungdet.cli.eval.main", lambda: seen.append(list(sys.argv)))
    monkeypatch.setattr(sys, "argv", ["lungdet", "eval", "run=x"])
    cli.main()
    assert seen[0][0].endswith("eval.py")
    assert seen[0][1:] == ["run=x"]
