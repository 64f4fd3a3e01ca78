"""Collections of 1,000, 10,000 and 100,000 tiny scans: seconds and memory of every step from folder to batch.

python scripts/simulate_growth.py --scans 1000 10000 --rows-per-scan 20

Every collection is opened in a process of its own. The last column is the slope of log processor time over log scans:
1 is linear, 0 constant. 100,000 scans take about 1 GB and 400,000 files below --folder; --keep leaves them there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from lungdet.bench.growth import Growth, exponents, make_collection
from lungdet.bench.growth import walk as walk_steps
from lungdet.bench.machine import machine
from lungdet.bench.processes import in_new_process


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rows-per-scan", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("runs/growth"))
    parser.add_argument("--json", type=Path, default=None, help="also write the figures there")
    parser.add_argument("--keep", action="store_true", help="leave the collections for another run")
    options = parser.parse_args()
    growths = []
    for n_scans in sorted(set(options.scans)):
        folder = options.folder / f"{n_scans}x{options.rows_per_scan}"
        make_collection(folder, n_scans=n_scans, rows_per_scan=options.rows_per_scan)
        growth, _ = in_new_process(walk_steps, folder)
        growths.append(growth)
        if not options.keep:
            shutil.rmtree(folder)
    print(table(growths))
    if options.json is not None:
        record = {"machine": machine(), "collections": [plain(growth) for growth in growths]}
        options.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def table(growths: list[Growth]) -> str:
    """A Markdown table: a line a step, for each collection its processor seconds, then the exponent; memory below."""
    heads = [f"{growth.n_scans:,} scans, {growth.n_candidates:,} rows" for growth in growths]
    slopes = exponents(growths) if len(growths) > 1 else {}
    lines = ["| processor seconds | " + " | ".join([*heads, "exponent"]) + " |", "|---" * (len(heads) + 2) + "|"]
    for place, step in enumerate(growths[0].steps):
        figures = [f"{growth.steps[place].cpu_seconds:.2f}" for growth in growths]
        slope = f"{slopes[step.name]:.2f}" if step.name in slopes else ""
        lines.append("| " + " | ".join([step.name, *figures, slope]) + " |")
    total = [f"{sum(step.cpu_seconds for step in growth.steps):.1f}" for growth in growths]
    lines.append("| **all** | " + " | ".join([*total, ""]) + " |")
    lines += [
        "",
        "| peak memory above imports, MB, after | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for place, step in enumerate(growths[0].steps):
        above = [f"{growth.steps[place].peak_mb - growth.imports_mb:,.0f}" for growth in growths]
        lines.append("| " + " | ".join([step.name, *above]) + " |")
    return "\n".join(lines)


def plain(growth: Growth) -> dict[str, object]:
    """JSON-ready."""
    return growth._asdict() | {"steps": [step._asdict() for step in growth.steps]}


if __name__ == "__main__":
    sys.exit(main())
