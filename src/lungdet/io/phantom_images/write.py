"""Writes whichever simulated collection is asked for, once, whoever else asks for it at the same time."""

from __future__ import annotations

from pathlib import Path

from lungdet.errors import ConfigError
from lungdet.io.file_lock import sole_holder
from lungdet.io.phantom_images.chest_xray import write_chest_xray_phantom
from lungdet.io.phantom_images.histopathology import write_histopathology_phantom
from lungdet.io.phantom_images.spec import ChestXrayPhantomSpec, HistopathologyPhantomSpec, ImagePhantomSpec


def write_image_phantom(folder: Path | str, spec: ImagePhantomSpec) -> bool:
    """Write the collection where it is missing; processes that ask together wait for the one that writes.

    Args:
        folder: where it goes.
        spec: of chest X-rays or of patches.

    Returns:
        Whether anything was written.

    Raises:
        ConfigError: a spec of neither.
        StoreError: the folder holds something else.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, not in it: a collection holds its own files only.
    lock = folder.with_name(f".{folder.name}.lock")
    with sole_holder(lock, busy=f"{folder}: another run is making these images; waiting for it", waits=True):
        if isinstance(spec, ChestXrayPhantomSpec):
            return write_chest_xray_phantom(folder, spec)
        if isinstance(spec, HistopathologyPhantomSpec):
            return write_histopathology_phantom(folder, spec)
    raise ConfigError(
        [f"data.cohort: {type(spec).__name__}; allowed are ChestXrayPhantomSpec and HistopathologyPhantomSpec"]
    )
