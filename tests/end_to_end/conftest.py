"""A cohort of six small phantom scans and its store, made once; commands run in this process or in a new one."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

COMMANDS = Path(__file__).parents[2] / "src" / "lungdet" / "cli"

SMALL = (
    "data.cohort.n_scans=8",
    "data.cohort.shape_zyx=[64,72,72]",
    "+data.cohort.candidates_per_scan=50",
    "+data.cohort.nodule_free_fraction=0.2",
    "data.crop.vox=[16,24,24]",
    "split=holdout",
    "split.val_fraction=0.3",
    "split.test_fraction=0.3",
)
TINY_TRAINING = (
    *SMALL,
    "model.net.conv_channels=2",
    "data.batch_size=8",
    "data.sampling.epoch_size=32",
    "trainer=cpu",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "callbacks.progress=null",
    "logger=none",
    "evaluation.n_resamples=50",
)

Command = Callable[..., None]


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cohorts/phantom and stores/phantom.zarr; every run of the session goes below it."""
    folder = tmp_path_factory.mktemp("workplace")
    call("preprocess", folder, *(word for word in SMALL if not word.startswith("split")), "workers=1")
    return folder


@pytest.fixture
def tiny_training() -> tuple[str, ...]:
    """Overrides that make a training of seconds out of the default one."""
    return TINY_TRAINING


@pytest.fixture
def lungdet(workplace: Path) -> Command:
    """`lungdet("train", "seed=1")` runs the command in this process, in the workplace."""
    return lambda name, *arguments: call(name, workplace, *arguments)


@pytest.fixture
def train(workplace: Path, lungdet: Command) -> Callable[..., Path]:
    """`train("name", "seed=1")`: a tiny training in runs/name; returns the run directory."""

    def run(name: str, *arguments: str) -> Path:
        lungdet("train", *TINY_TRAINING, f"hydra.run.dir={workplace}/runs/{name}", *arguments)
        return workplace / "runs" / name

    return run


@pytest.fixture
def lungdet_process(workplace: Path) -> Command:
    """The same in a new process, which can start processes of its own; fails with its output after five minutes."""

    def run(name: str, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, str(COMMANDS / f"{name}.py"), f"paths.root={workplace}", *arguments],
            cwd=workplace,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    return run


def call(name: str, folder: Path, *arguments: str) -> None:
    GlobalHydra.instance().clear()
    before, here = sys.argv, Path.cwd()
    sys.argv = [str(COMMANDS / f"{name}.py"), f"paths.root={folder}", *arguments]
    os.chdir(folder)
    try:
        importlib.import_module(f"lungdet.cli.{name}").main()
    finally:
        sys.argv = before
        os.chdir(here)
