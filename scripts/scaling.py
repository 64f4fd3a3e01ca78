"""What a collection of any size costs on machines of any size: bytes, requests, seconds, money, and what limits first.

python scripts/scaling.py
python scripts/scaling.py --gpu-samples-per-s 3000 --preprocess-cpu-s 0.41 --network-mb-s 1250

Prints the tables of docs/scaling.md. Measured unit costs, assumed machines and assumed prices are the defaults below;
each is an option. No GPU was measured: without --gpu-samples-per-s the tables tell how fast one may be before it waits.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass

CHUNK, CROP_ZYX = 32, (32, 48, 48)
COLLECTIONS = {"LUNA16": 888, "NLST": 75_000, "a million": 1_000_000}
HOURS_PER_MONTH = 730


@dataclass(frozen=True)
class Costs:
    """Measured on this project's machine (docs/benchmarks.md, docs/store.md), and prices assumed in November 2026."""

    raw_mb: float = 73.4  # a scan of 512 x 512 x 133 int16
    none_mb: float = 106.1  # the same at 1 mm with its mask, by codec
    lz4_mb: float = 50.8
    zstd_mb: float = 39.2
    preprocess_cpu_s: float = 0.41  # a scan of 300 x 512 x 512
    none_crops_per_worker_s: float = 2380  # through a DataLoader
    lz4_crops_per_worker_s: float = 1550
    zstd_crops_per_worker_s: float = 690  # lz4's, times the ratio of the two readers
    rows_per_scan: float = 850  # candidates_V2.csv: 754,975 rows of 888 scans
    balanced_per_scan: float = 3.5  # 1,557 positives of 888 scans, and as many negatives
    table_bytes_per_row: float = 460  # at the peak, while the table is read
    open_cpu_ms_per_scan: float = 0.3  # listing, splitting, metadata: scripts/simulate_growth.py
    kept_kb_per_scan: float = 1.7  # of a worker that has seen it
    gpu_samples_per_s: float = math.nan  # of one GPU: not measured
    storage_usd_per_gb_month: float = 0.023
    requests_usd_per_million: float = 0.40
    core_usd_per_h: float = 0.05
    gpu_usd_per_h: float = 3.0
    object_latency_ms: float = 30.0
    object_requests_in_flight: float = 256


@dataclass(frozen=True)
class Machine:
    """Assumed. Each figure is that of one node."""

    name: str
    nodes: int
    gpus: int
    cores: int
    memory_gb: float
    disk_gb: float
    disk_mb_s: float
    network_mb_s: float


MACHINES = (
    Machine("workstation", 1, 1, 16, 64, 2_000, 2_000, 125),
    Machine("8-GPU node", 1, 8, 96, 1_000, 15_000, 6_000, 3_000),
    Machine("64 such nodes", 64, 8, 96, 1_000, 15_000, 6_000, 3_000),
)
CODECS = ("none", "lz4", "zstd")
# What can be typed or bought against each limit.
REMEDIES = {
    "workers": "data.store.codec=none while that still fits; data.num_workers up to the cores",
    "disk": "data.store.codec=zstd to fit into memory; data/sampling=balanced; more nodes",
    "network": "LUNGDET_CACHE_GB as large as the disk; data.store.codec=zstd; the store on local disks",
    "requests": "larger LUNGDET_CACHE_GB; more workers, each with requests of its own in flight",
    "GPU": "more trainer.devices and trainer.num_nodes",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Costs):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=float, default=field.default)
    costs = Costs(**vars(parser.parse_args()))
    print("\n\n".join([storage(costs), preparation(costs), epochs(costs), opening(costs)]))
    return 0


def chunks_per_crop(crop_zyx: tuple[int, int, int] = CROP_ZYX, chunk: int = CHUNK) -> tuple[float, float]:
    """Inner chunks that a crop at a random place touches, and rows of them: those of one row are one request."""
    z, y, x = (1 + (size - 1) / chunk for size in crop_zyx)
    return z * y * x, z * y


def crop_mb(costs: Costs, codec: str) -> float:
    """Megabytes fetched for one crop: whole chunks, as small as the codec makes them."""
    chunks, _ = chunks_per_crop()
    share: float = getattr(costs, f"{codec}_mb") / costs.none_mb
    return chunks * CHUNK**3 * 2 / 1e6 * share


def limits(costs: Costs, machine: Machine, *, n_scans: int, codec: str) -> dict[str, float]:
    """Crops per second of one node that each part of it can deliver; parts that do not matter are left out."""
    store_gb = n_scans * getattr(costs, f"{codec}_mb") / 1e3
    rates = {"workers": (machine.cores - machine.gpus) * getattr(costs, f"{codec}_crops_per_worker_s")}
    if store_gb > machine.disk_gb:
        _, requests = chunks_per_crop()
        rates["network"] = machine.network_mb_s / crop_mb(costs, codec)
        rates["requests"] = costs.object_requests_in_flight / (costs.object_latency_ms / 1e3) / requests
    elif store_gb > 0.7 * machine.memory_gb:  # the rest belongs to the processes
        rates["disk"] = machine.disk_mb_s / crop_mb(costs, codec)
    if not math.isnan(costs.gpu_samples_per_s):
        rates["GPU"] = machine.gpus * costs.gpu_samples_per_s
    return rates


def storage(costs: Costs) -> str:
    rows = []
    for name, n in COLLECTIONS.items():
        sizes = [n * mb / 1e6 for mb in (costs.raw_mb, *(getattr(costs, f"{codec}_mb") for codec in CODECS))]
        money = n * costs.lz4_mb / 1e3 * costs.storage_usd_per_gb_month
        rows.append([f"{name}, {n:,} scans", *(f"{size:,.2f}" for size in sizes), f"{money:,.0f}"])
    return table(["TB", "as delivered", *(f"store, {codec}" for codec in CODECS), "lz4: USD a month"], rows)


def preparation(costs: Costs) -> str:
    rows = []
    for name, n in COLLECTIONS.items():
        for machine in MACHINES:
            cpu = n * costs.preprocess_cpu_s / (machine.cores * machine.nodes)
            fetch = n * costs.raw_mb / (machine.network_mb_s * machine.nodes)
            limit = "processors" if cpu > fetch else "network"
            money = n * costs.preprocess_cpu_s / 3600 * costs.core_usd_per_h
            rows.append([name, machine.name, duration(cpu), duration(fetch), limit, f"{money:,.2f}"])
    heads = ["preprocessing", "on", "processors", "fetching over the network", "limit", "core hours, USD"]
    return table(heads, rows)


def epochs(costs: Costs, codec: str = "lz4") -> str:
    _, requests = chunks_per_crop()
    rows = []
    for name, n in COLLECTIONS.items():
        for machine in MACHINES:
            rates = limits(costs, machine, n_scans=n, codec=codec)
            limit = min(rates, key=lambda part: rates[part])
            total = rates[limit] * machine.nodes
            per_epoch = [n * costs.balanced_per_scan, n * costs.rows_per_scan]
            asked = per_epoch[1] * requests if "network" in rates else 0.0
            money = f"{asked:.1e}, {asked / 1e6 * costs.requests_usd_per_million:,.0f}" if asked else "none"
            rows.append(
                [
                    name,
                    machine.name,
                    limit,
                    f"{rates[limit] / machine.gpus:,.0f}",
                    *(duration(crops / total) for crops in per_epoch),
                    money,
                    REMEDIES[limit],
                ]
            )
    heads = ["training, lz4", "on", "first limit", "crops/s a GPU gets", "balanced epoch", "epoch of all rows"]
    return table([*heads, "requests, USD an epoch of all", "what moves it"], rows)


def opening(costs: Costs) -> str:
    rows = [
        [
            f"{name}, {n * costs.rows_per_scan:,.0f} rows",
            f"{n * costs.rows_per_scan * costs.table_bytes_per_row / 1e9:,.1f} GB",
            duration(n * costs.open_cpu_ms_per_scan / 1e3),
            f"{n * costs.kept_kb_per_scan / 1e6:,.2f} GB",
        ]
        for name, n in COLLECTIONS.items()
    ]
    heads = ["opening", "table at the peak, a training process", "processor time, table apart", "scans, a worker"]
    return table(heads, rows)


def duration(seconds: float) -> str:
    """Two digits in the unit that fits."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}" if seconds < 20 * size else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds * 1e3:.0f} ms"


def table(heads: list[str], rows: Iterable[list[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows])


if __name__ == "__main__":
    sys.exit(main())
