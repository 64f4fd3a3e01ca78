"""Does bf16 with channels_last train to the same validation AUROC as plain fp32? Two runs for every seed, compared.

    python scripts/compare_precision.py --seeds 0 1 2 --epochs 12 -- model=luna_cls

Runs go below --folder and are not trained again where they are finished. Prints, for each seed and over all of them,
the difference in validation AUROC with a paired 95 % interval over patients, and seconds an epoch; beside each pair
lies what `lungdet compare` says of the test patients. Exit code 1 where the interval over all seeds leaves out 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.predictions import read_predictions
from lungdet.metrics.ranking import auroc

COMMANDS = Path(__file__).parents[1] / "src" / "lungdet" / "cli"
WAYS = {
    "fp32_contiguous": ["trainer.precision=32-true", "model.channels_last=false"],
    "bf16_channels_last": ["trainer.precision=bf16-mixed", "model.channels_last=true"],
}
PLAIN, FAST = WAYS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--folder", type=Path, default=Path("runs/compare_precision"))
    parser.add_argument("overrides", nargs="*", help="of lungdet train, for both ways")
    options = parser.parse_args()
    folder = options.folder.resolve()
    differences, points = [], []
    for seed in options.seeds:
        runs = {way: folder / f"{way}_seed{seed}" for way in WAYS}
        for way, words in WAYS.items():
            train(runs[way], [*words, f"seed={seed}", f"trainer.max_epochs={options.epochs}", *options.overrides])
        lungdet("compare", f"runs=[{runs[PLAIN]},{runs[FAST]}]", f"out={folder / f'seed{seed}'}")
        tables = {way: validation(run) for way, run in runs.items()}
        drawn = paired(tables[PLAIN], tables[FAST], n=options.resamples, seed=0)
        differences.append(drawn)
        plain, fast = (auroc(table["label"].to_numpy() == 1, table["logit"].to_numpy()) for table in tables.values())
        points.append(fast - plain)
        print(f"seed {seed}: AUROC {plain:.4f} {PLAIN}, {fast:.4f} {FAST}; {interval(fast - plain, drawn)}")
        seconds = {way: pd.read_csv(run / "history.csv")["seconds"].median() for way, run in runs.items()}
        print(f"  seconds an epoch, with validation: {seconds[PLAIN]:.1f} and {seconds[FAST]:.1f}")
    together = np.mean(differences, axis=0)
    print(f"{len(differences)} seed(s): {interval(float(np.mean(points)), together)}")
    low, high = np.nanpercentile(together, [2.5, 97.5])
    return 0 if low <= 0 <= high else 1


def train(run: Path, overrides: list[str]) -> None:
    if (run / "report.html").is_file():
        print(f"{run.name}: there already")
        return
    quiet = ["trainer=cpu", "trainer.enable_progress_bar=false", "callbacks.progress=null", "logger=none"]
    lungdet("train", *quiet, "callbacks.early_stopping=null", *overrides, f"hydra.run.dir={run}")


def lungdet(command: str, *overrides: str) -> None:
    subprocess.run([sys.executable, str(COMMANDS / f"{command}.py"), *overrides], check=True)


def validation(run: Path) -> pd.DataFrame:
    table = read_predictions(run / "predictions.parquet")
    chosen = json.loads((run / "provenance.json").read_text())
    assert chosen["checkpoint_chosen_on"] == "val"
    return table[table["partition"] == "val"].reset_index(drop=True)


def paired(plain: pd.DataFrame, fast: pd.DataFrame, *, n: int, seed: int) -> npt.NDArray[np.float64]:
    """Differences in AUROC on the same resampled patients: float64 [n], NaN where a draw has one class only."""
    assert plain["candidate_id"].tolist() == fast["candidate_id"].tolist()
    label = plain["label"].to_numpy() == 1
    rows = [np.flatnonzero(plain["patient_id"] == patient) for patient in plain["patient_id"].unique()]
    random = np.random.default_rng(seed)
    found = np.full(n, np.nan)
    for k in range(n):
        drawn = np.concatenate([rows[i] for i in random.integers(0, len(rows), len(rows))])
        if 0 < label[drawn].sum() < len(drawn):
            a, b = (auroc(label[drawn], table["logit"].to_numpy()[drawn]) for table in (plain, fast))
            found[k] = b - a
    return found


def interval(difference: float, drawn: npt.NDArray[np.float64]) -> str:
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return f"difference {difference:+.4f} (95 % {low:+.4f} to {high:+.4f})"


if __name__ == "__main__":
    raise SystemExit(main())
