"""What bf16 changes in a detector's FROC: the same scans searched in fp32 and in bf16, compared by paired resamples.

    python -m scripts.measure_precision cohorts/phantom --segmentation latest --classifier latest

Everything that `lungdet detect` and `lungdet compare` write stays in --out. A processor that computes in bf16 is needed
only for the seconds to mean something; elsewhere it is emulated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

PRECISIONS = ("fp32", "bf16")
ROLES = ("segmentation", "classifier", "malignancy")
LUNGDET = Path(sys.executable).with_name("lungdet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", type=Path, help="scans with annotations.csv and annotations_excluded.csv")
    for role in ROLES:
        parser.add_argument(f"--{role}", help="a run directory, its name below --runs, or latest")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--only", default="test", help="test, null for all scans, or a file of series UIDs")
    parser.add_argument("--out", type=Path, default=Path("detections/precision"))
    arguments = parser.parse_args()
    folders = {precision: (arguments.out / precision).resolve() for precision in PRECISIONS}
    for precision, folder in folders.items():
        lungdet("detect", *settings(arguments, precision), f"out={folder}", "overwrite=true")
    listed = ",".join(map(str, folders.values()))
    lungdet("compare", f"runs=[{listed}]", f"names=[{','.join(PRECISIONS)}]", f"out={arguments.out.resolve()}/compared")
    report = json.loads((arguments.out / "compared" / "compare.json").read_text(encoding="utf-8"))
    for line in summary(report, folders):
        print(line)


def settings(arguments: argparse.Namespace, precision: str) -> list[str]:
    """Overrides of `lungdet detect`."""
    given = {role: getattr(arguments, role) for role in ROLES if getattr(arguments, role) is not None}
    cohort = arguments.cohort.resolve()
    return [
        f"input={cohort}",
        f"annotations={cohort}/annotations.csv",
        f"excluded={cohort}/annotations_excluded.csv",
        f"only={arguments.only}",
        f"paths.runs={arguments.runs.resolve()}",
        *(f"networks.{role}={run}" for role, run in given.items()),
        *(f"pipeline.inference.{role}.precision={precision}" for role in given),
    ]


def lungdet(*words: str) -> None:
    subprocess.run([str(LUNGDET), *words], check=True)


def summary(report: dict[str, Any], folders: dict[str, Path]) -> list[str]:
    """The lines of the answer: each precision by itself, then the differences."""
    counts = ", ".join(f"{n} {name}" for name, n in report["counts"].items())
    lines = ["", f"{counts}; {report['n_resamples']} resamples of scans"]
    for name, folder in folders.items():
        cpm = report["results"][name]["cpm"]
        records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/detections.json"))]
        seconds = np.median([sum(record["seconds"].values()) for record in records])
        n_candidates = sum(len(record["candidates"]) for record in records)
        lines.append(
            f"{name}: CPM {cpm['value']:.4f} ({cpm['low']:.4f} to {cpm['high']:.4f}), {n_candidates} candidates, "
            f"median {seconds:.2f} s a scan"
        )
    (pair,) = report["pairs"]
    for measure in report["measures"]:
        found = pair["differences"][measure["key"]]
        value, low, high = (found["estimate"][key] for key in ("value", "low", "high"))
        lines.append(f"{measure['title']}, bf16 minus fp32: {value:+.4f} ({low:+.4f} to {high:+.4f})")
    return [*lines, moved(folders)]


def moved(folders: dict[str, Path]) -> str:
    """How far probabilities move where both precisions put a candidate on the same place."""
    fp32, bf16 = (
        pd.read_parquet(folders[name] / "detections.parquet").set_index(
            ["series_uid", "center_x_mm", "center_y_mm", "center_z_mm"]
        )["probability"]
        for name in PRECISIONS
    )
    both = pd.concat([fp32, bf16], axis=1, keys=PRECISIONS, join="inner")
    difference = (both["bf16"] - both["fp32"]).abs()
    return (
        f"{len(both)} candidates at exactly the same place (of {len(fp32)} and {len(bf16)}): probabilities differ by "
        f"{difference.median():.2g} (median), {difference.quantile(0.99):.2g} (99 %), {difference.max():.2g} (most)"
    )


if __name__ == "__main__":
    main()
