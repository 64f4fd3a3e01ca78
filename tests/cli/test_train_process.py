"""A training in a process of its own gets its job's words and nothing of the sweep; how it ends is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lungdet.cli import train_process
from lungdet.cli.train_process import quoted, train_as_job
from lungdet.errors import RunError


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in for train.py writes its arguments; `exit=3` among them is its exit code."""
    script, written = tmp_path / "train.py", tmp_path / "told.json"
    script.write_text(
        "import json, os, sys\n"
        f"json.dump([os.getcwd(), *sys.argv[1:]], open({str(written)!r}, 'w'))\n"
        "sys.exit(next((int(w[5:]) for w in sys.argv if w.startswith('exit=')), 0))\n"
    )
    monkeypatch.setattr(train_process, "_TRAIN", script)
    return written


def test_the_words_of_the_sweep_stay_behind(told: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a folder, with [signs]"
    of_hydra = ["hydra.sweep.dir=x", "hydra/launcher=joblib", "+hydra.launcher.n_jobs=2", "hydra.verbose=true"]
    train_as_job(["seed=1"], of_hydra, folder, cwd=tmp_path)
    assert json.loads(told.read_text()) == [
        str(tmp_path), "seed=1", "hydra.verbose=true", f"hydra.run.dir='{folder}'",
    ]  # fmt: skip


def test_another_exit_code_is_an_error_that_names_the_run(told: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run: the training ended with exit code 3; its message stands above"):
        train_as_job(["exit=3"], [], tmp_path / "run", cwd=tmp_path)


def test_hydra_reads_a_quoted_path_back() -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    for name in ("plain", "it's", "a,b", "c=[d]", "e f"):
        word = f"x={quoted(Path('/a') / name)}"
        assert OverridesParser.create().parse_override(word).value() == f"/a/{name}", sys.version
