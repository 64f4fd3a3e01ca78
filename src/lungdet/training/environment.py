"""What a run needs to be repeated, and was made with: code and its changes, packages, hardware."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import torch

import lungdet
from lungdet.training.run_directory import RunDirectory

PACKAGES = (
    "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "monai", "zarr", "numcodecs", "numpy",
    "scipy", "scikit-learn", "pandas", "pyarrow", "SimpleITK",
)  # fmt: skip


def describe_environment() -> dict[str, Any]:
    """Code version, packages and hardware, for provenance.json."""
    changes = _changes()
    return {
        "lungdet": lungdet.__version__,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_changes_hash": hashlib.sha256(changes.encode()).hexdigest()[:12] if changes else None,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "hardware": _hardware(),
    }


def write_environment(run: RunDirectory) -> None:
    """Write environment.txt (as `pip install -r` takes it) and changes.diff, when the run starts."""
    installed = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions() if d.metadata["Name"]}
    lines = [f"{name}=={installed[name]}" for name in sorted(installed, key=str.lower)]
    run.write_text(run.environment, "\n".join([f"# Python {platform.python_version()}", *lines]) + "\n")
    changes = _changes()
    if changes is None:
        run.changes.unlink(missing_ok=True)
    else:
        run.write_text(run.changes, changes + "\n")


def _hardware() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "memory_gb": None if memory is None else round(memory / 1e9, 1),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "system": platform.system(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    """Model of the CPU, as the system names it."""
    listed = Path("/proc/cpuinfo")
    if listed.is_file():
        models = re.findall(r"^model name\s*:\s*(.+)$", listed.read_text(), flags=re.MULTILINE)
        if models:
            return str(models[0])
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """Output of git for the checkout that this source lies in; None for an installed wheel or without git."""
    checkout = Path(lungdet.__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _changes() -> str | None:
    """The uncommitted changes; None when there are none, or no checkout."""
    return _git("diff", "HEAD") or None
