"""What a worker of a Dask cluster does for us: one job at a time, tells what it runs on, looks for a folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

# Needed by the first job, and imported here, where a worker unpickles its first message: importing OpenCV takes modules
# out of sys.modules for a moment, and failed (KeyError: 'cv2.data') when a job of a new worker was the first to do it.
import cv2  # noqa: F401

import lungdet
from lungdet.executors.attempt import attempt
from lungdet.executors.outcome import Outcome

R = TypeVar("R")

# Of the packages that results or the connection depend on.
PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "opencv-python-headless", "zarr", "SimpleITK", "distributed")

# A worker of several threads is given several jobs, and holds one scan in memory all the same.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Probe:
    """A file in the folder that everybody has to see.

    Args:
        path: of the file.
        token: its content.
    """

    path: str
    token: str

    def problem(self) -> str | None:
        """What is wrong with the folder here, None for nothing."""
        host = socket.gethostname()
        try:
            seen = Path(self.path).read_text(encoding="utf-8") == self.token
        except OSError:
            seen = False
        folder = Path(self.path).parent
        if not seen:
            return f"{host} does not see {folder}"
        return None if os.access(folder, os.W_OK) else f"{host} may not write to {folder}"


def do_job(work: Callable[..., R], name: str, arguments: tuple[Any, ...], probe: Probe | None) -> Outcome[R]:
    """One job, alone in this process, with all threads of the worker."""
    from distributed import get_worker

    with _one_at_a_time:
        # Also workers that came after the first look.
        if probe is not None and (problem := probe.problem()) is not None:
            return Outcome(name, None, f"{problem}; cluster and this process need the same file system")
        return attempt(work, name, arguments, threads=get_worker().state.nthreads)


def describe() -> dict[str, str]:
    """What this process runs on, to be compared: host, lungdet and a hash of its source, packages, processor."""
    versions = {name: _version(name) for name in PACKAGES}
    return {
        "host": socket.gethostname(),
        "lungdet": f"{lungdet.__version__} ({source_hash()})",
        "python": platform.python_version(),
        "processor": _processor(),
        **{name: version for name, version in versions.items() if version is not None},
    }


def source_hash() -> str:
    """8 hex digits of all modules of lungdet: also of a checkout, whose version number says little."""
    folder = Path(lungdet.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
