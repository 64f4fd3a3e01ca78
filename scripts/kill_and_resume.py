"""Kill a training with SIGKILL at random moments, again and again, and compare what comes out with an undisturbed run.

python scripts/kill_and_resume.py --kills 20 -- model=luna_cls trainer.max_epochs=6

Both runs go below --folder. Ends with exit code 1 where a prediction, a weight or a row of the history differs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import torch

TRAIN = Path(__file__).parents[1] / "train.py"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/kill_and_resume"))
    parser.add_argument("overrides", nargs="*", help="of train.py")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    whole, killed = (options.folder.resolve() / name for name in ("whole", "killed"))
    fixed = ["trainer=cpu", "trainer.enable_progress_bar=false", "callbacks.progress=null", *options.overrides]

    def command(run: Path) -> list[str]:
        return [sys.executable, str(TRAIN), *fixed, "ckpt_path=auto", f"hydra.run.dir={run}"]

    with subprocess.Popen(command(whole), stdout=subprocess.DEVNULL) as process:
        wait_until_training(whole, process)
        started = time.monotonic()
        assert process.wait() == 0
    seconds = time.monotonic() - started
    print(f"undisturbed: {seconds:.0f} s from the first batch to the report")
    moments = random.Random(options.seed)
    n_killed = 0
    while n_killed < options.kills:
        process = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL)
        wait_until_training(killed, process)
        try:
            code = process.wait(moments.uniform(0.0, 0.4) * seconds)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            n_killed += 1
            print(f"kill {n_killed}: {where(killed)}")
            continue
        assert code == 0, f"exit code {code}"
        # It came to its end between two kills: another one from the start.
        problems = differences(whole, killed)
        print(f"finished after {n_killed} kills: {'; '.join(problems) or 'the same bits'}")
        if problems:
            return 1
        shutil.rmtree(killed)
    subprocess.run(command(killed), check=True, stdout=subprocess.DEVNULL)
    problems = differences(whole, killed)
    print(f"{options.kills} kills: {'; '.join(problems) or 'predictions, weights and history are the same bits'}")
    return 1 if problems else 0


def wait_until_training(run: Path, process: subprocess.Popen[bytes]) -> None:
    """Until this process has written down its environment, which it does just before it trains."""
    begin = time.time()
    environment = run / "environment.txt"
    while process.poll() is None and not (environment.is_file() and environment.stat().st_mtime > begin):
        time.sleep(0.02)


def where(run: Path) -> str:
    """What had been written when the process died."""
    history = run / "history.csv"
    n_epochs = len(pd.read_csv(history)) if history.is_file() else 0
    behind = next((name for name in ("provenance.json", "predictions.parquet") if (run / name).exists()), "")
    return f"after {n_epochs} epochs" + (f", behind {behind}" if behind else "")


def differences(whole: Path, killed: Path) -> list[str]:
    """What is not the same in two finished runs."""
    found = []
    if (whole / "predictions.parquet").read_bytes() != (killed / "predictions.parquet").read_bytes():
        found.append("predictions differ")
    a, b = (pd.read_csv(run / "history.csv").drop(columns="seconds") for run in (whole, killed))
    if not a.equals(b):
        found.append("histories differ")
    for which in ("best", "last"):
        x, y = (
            torch.load(run / "checkpoints" / f"{which}.ckpt", weights_only=True)["state_dict"]
            for run in (whole, killed)
        )
        if any(not torch.equal(x[name], y[name]) for name in x):
            found.append(f"weights of {which}.ckpt differ")
    return found


if __name__ == "__main__":
    sys.exit(main())
