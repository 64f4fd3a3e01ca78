"""Measure this machine: crops, loaders, training, whole scans, reports, each as a ratio to a named baseline."""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from lungdet.cli.application import launch, with_absolute_paths
from lungdet.errors import ConfigError, LungdetError, RunError

if TYPE_CHECKING:
    from lungdet.bench.rows import Row

log = logging.getLogger(__name__)

ALL = "all"


def run(cfg: DictConfig) -> None:
    """Run one benchmark or all of them, print the table, write the JSON where `out` says.

    Raises:
        ConfigError: there is no benchmark of that name.
        RunError: some could not be taken; the others' figures are printed and written.
    """
    from lungdet.bench.catalogue import benchmarks, load
    from lungdet.bench.machine import machine
    from lungdet.config import check_config

    cfg = with_absolute_paths(cfg)
    check_config(cfg, root="bench")
    known = list(benchmarks())
    if cfg.what not in (ALL, *known):
        near = difflib.get_close_matches(cfg.what, [ALL, *known], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError([f"what: '{cfg.what}' is not a benchmark; there are {', '.join([ALL, *known])}{hint}"])
    out = None if cfg.out is None else Path(cfg.out)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    lines: list[Row] = []
    seconds, failed = {}, {}
    # Beside the output, where there is one: the cold figures need a real disk, and not every /tmp is one.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=out) as folder:
        for name in known if cfg.what == ALL else [cfg.what]:
            log.info("bench %s: %s", name, benchmarks()[name])
            started = time.perf_counter()
            try:
                lines += load(name)(quick=cfg.quick, folder=Path(folder))
            except LungdetError as error:
                log.warning("bench %s: %s", name, error)
                failed[name] = str(error)
            seconds[name] = round(time.perf_counter() - started, 1)
    record = {
        "what": cfg.what,
        "quick": cfg.quick,
        "seconds": seconds,
        "failed": failed,
        "machine": machine(),
        "rows": [dataclasses.asdict(line) for line in lines],
    }
    _show(lines, record)
    if out is not None:
        path = out / f"bench_{cfg.what}.json"
        path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        log.info("figures: %s", path)
    if failed:
        listed = "\n".join(f"  {name}: {message}" for name, message in failed.items())
        raise RunError(f"{len(failed)} benchmark(s) could not be taken.\n{listed}")


def _show(lines: list[Row], record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, 110)  # in a pipe rich takes 80 columns and breaks the ratios
    for section in dict.fromkeys(line.section for line in lines):
        shown = [line for line in lines if line.section == section]
        medians = {line.name: line.median for line in shown}
        has_peaks = any(line.peak_mb is not None for line in shown)
        table = Table(title=section, title_justify="left", title_style="bold")
        for heading in ("", "median", "least to most", "ratio", "baseline", *(["peak MB"] if has_peaks else [])):
            table.add_column(heading, justify="right" if heading else "left")
        for line in shown:
            is_baseline = line.name == line.baseline
            cells = [
                line.name,
                f"{figure(line.median)} {line.unit}",
                f"{figure(line.low)} to {figure(line.high)}",
                "" if is_baseline else f"{line.ratio:.2f} ({line.ratio_low:.2f} to {line.ratio_high:.2f})",
                "itself" if is_baseline else f"{figure(medians[line.baseline])} {line.unit}",
            ]
            if has_peaks:
                cells.append("" if line.peak_mb is None else figure(line.peak_mb))
            table.add_row(*cells)
        console.print(table)
    about = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
    console.print(
        f"{about['processor']}, {about['cores']} cores, load {about['load_average']}, Python {about['python']}; "
        f"{versions}; {sum(record['seconds'].values()):.0f} s",
        soft_wrap=True,
        highlight=False,
    )


def figure(value: float) -> str:
    """Three digits, or all of those before the point.

    >>> [figure(value) for value in (16_384.2, 99.96, 7.256, 0.04321, 0)]
    ['16,384', '100', '7.26', '0.0432', '0']
    """
    if value == 0 or abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def overrides(arguments: list[str]) -> list[str]:
    """What a person types, in Hydra's words: `crops --quick` is `what=crops quick=true`.

    >>> overrides(["crops", "--quick", "out=figures"])
    ['what=crops', 'quick=true', 'out=figures']
    """
    words = ["quick=true" if argument == "--quick" else argument for argument in arguments]
    if words and "=" not in words[0] and not words[0].startswith("-"):
        words[0] = f"what={words[0]}"
    return words


def main() -> None:
    """Entry point of `lungdet bench`."""
    sys.argv[1:] = overrides(sys.argv[1:])
    launch("bench", run)


if __name__ == "__main__":
    main()
