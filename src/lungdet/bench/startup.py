"""Start-up: help and a composed configuration in new processes, against importing torch or everything at once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from lungdet.bench.rows import Contender, Row, interleave, rows

EAGER = "everything imported at once"
TORCH = "python -c 'import torch'"
HELP = "lungdet --help"
COMPOSE = "lungdet train --cfg job"

_MAIN = "import sys; from lungdet.cli import main; sys.argv = ['lungdet', *sys.argv[1:]]; main()"
# What a command line would cost that imports at its head what training needs.
_EVERYTHING = (
    "import hydra, lungdet.data.luna16, lungdet.tasks.candidate_classification, lungdet.training.experiment, "
    "lungdet.evaluation.report"
)


def measure(*, quick: bool, folder: Path) -> list[Row]:
    """Starts a second; a new interpreter each time, with the files in the page cache."""
    contenders = {EAGER: _started(_EVERYTHING, folder), TORCH: _started("import torch", folder)}
    contenders |= {HELP: _started(_MAIN, folder, "--help"), COMPOSE: _started(_MAIN, folder, "train", "--cfg", "job")}
    rates = interleave(contenders, rounds=2 if quick else 7, warm_up=not quick)
    return rows(rates, section="start-up, a new process", unit="starts/s", baseline=EAGER)


def _started(code: str, folder: Path, *arguments: str) -> Contender:
    def run(_: int) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, check=True, capture_output=True)
        return 1 / (time.perf_counter() - started)

    return run
