"""A phantom collection is in its folder completely or not at all, and is written once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lungdet.errors import StoreError
from lungdet.io.phantom_images.spec import ImagePhantomSpec

SPEC_FILE = "phantom.json"
PROVENANCE = (
    "Simulated from analytic shapes and random numbers: no patient data, no trained model. Not for clinical use."
)


def write_once(folder: Path | str, spec: ImagePhantomSpec, fill: Callable[[Path], None]) -> bool:
    """Fill a folder beside the one asked for, then give it that name.

    Args:
        folder: absent, empty, or holding the same collection.
        spec: what the collection is known by.
        fill: writes the collection to the folder it is given.

    Returns:
        False where the same collection was there before; nothing is written then.

    Raises:
        StoreError: the folder holds another collection, or other files.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        _check_same(folder, spec)
        return False
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        text = json.dumps({"provenance": PROVENANCE, "spec": spec.to_dict()}, indent=1)
        (partial / SPEC_FILE).write_text(text + "\n")
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return True


def _check_same(folder: Path, spec: ImagePhantomSpec) -> None:
    try:
        there = json.loads((folder / SPEC_FILE).read_text())["spec"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder}: holds files that are no phantom collection; give an empty or a new folder"
        ) from error
    wanted = spec.to_dict()
    if there != wanted:
        names = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
        differences = ", ".join(f"{name} is {there.get(name)!r}, not {wanted.get(name)!r}" for name in names)
        raise StoreError(
            f"{folder}: holds another phantom collection ({differences}); give another folder, or remove it"
        )
