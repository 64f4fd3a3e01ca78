"""What a training step of luna_cls spends its time on (torch.profiler), for each way to compute: a table in Markdown.

python scripts/profile_training.py [--steps 3] [--batch-size 32] [--threads 2]

Augmentation and window are part of the step. Shares do not depend on what else the machine does, milliseconds do.
"""

from __future__ import annotations

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

from lungdet.bench.training import LUNA_CLS, ways
from lungdet.bench.training_loops import Arithmetic, CropsInMemory, PlainLoop
from lungdet.pipeline.inference import resolve_precision

SHOWN = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=LUNA_CLS.batch_size)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = CropsInMemory(options.batch_size, LUNA_CLS.shape_zyx)
    for arithmetic in ways(resolve_precision("auto", device) == "bf16", compiled=False):
        print(f"\n{arithmetic}, {options.batch_size} samples, {options.threads} thread(s)\n")
        print("\n".join(table(arithmetic, dataset, steps=options.steps, device=device)))


def table(arithmetic: Arithmetic, dataset: CropsInMemory, *, steps: int, device: torch.device) -> list[str]:
    """Operations by their own time, the longest first."""
    loop = PlainLoop(LUNA_CLS.make(), LUNA_CLS.loss(), arithmetic=arithmetic, device=device)
    loop.step(dataset.__getitems__(range(len(dataset))))
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            loop.step(dataset.__getitems__(range(len(dataset))))
    time_of = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    found = sorted(((getattr(e, time_of), e.key) for e in profiler.key_averages()), reverse=True)
    total = sum(microseconds for microseconds, _ in found)
    lines = ["| operation | ms a step | share |", "|---|---|---|"]
    lines += [f"| `{key}` | {us / 1000 / steps:.1f} | {us / total:.0%} |" for us, key in found[:SHOWN]]
    rest = total - sum(us for us, _ in found[:SHOWN])
    return [
        *lines,
        f"| everything else | {rest / 1000 / steps:.1f} | {rest / total:.0%} |",
        f"| step | {total / 1000 / steps:.1f} | |",
    ]


if __name__ == "__main__":
    main()
