"""Simulated histopathology patches in Kaggle's layout or in PCam's HDF5 files, with the slide of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
from PIL import Image

from lungdet.io.histopathology import PCAM_PARTITIONS, PCAM_PREFIX
from lungdet.io.phantom_images.folder import write_once
from lungdet.io.phantom_images.spec import HistopathologyPhantomSpec
from lungdet.io.phantom_images.tissue import Patch, draw_patch, draw_slide

_LABELLED, _UNLABELLED, _SLIDES = 0, 1, 2  # keep the random numbers of the three apart
_PCAM_SHARES = {"train": 0.7, "valid": 0.15}  # of the slides; the rest is test


def write_histopathology_phantom(folder: Path | str, spec: HistopathologyPhantomSpec) -> bool:
    """Write train/<sha1>.tif, train_labels.csv, slides.csv and test/ without labels, or PCam's HDF5 files.

    masks/<sha1>.png (masks/<split>.h5 with PCam's files) has the tumour of every labelled patch that holds any; patches
    that are labelled negative may have some outside of the middle, as the real ones do.

    Args:
        folder: absent, empty, or holding the same collection, which is then kept.
        spec: what to write.

    Returns:
        Whether it was written by this call.

    Raises:
        StoreError: the folder holds something else.
    """
    write = {"kaggle": _write_kaggle, "pcam": _write_pcam}[spec.layout]
    return write_once(folder, spec, lambda root: write(root, spec))


def _write_kaggle(root: Path, spec: HistopathologyPhantomSpec) -> None:
    for name in ("train", "test", "masks"):
        (root / name).mkdir()
    rows = []
    for patch, slide in _patches(spec, _LABELLED, spec.n_images):
        sha1 = _save(root / "train", patch)
        rows.append((sha1, int(patch.is_tumor), f"slide-{slide:03d}"))
        if patch.lesion.any():
            Image.fromarray(patch.lesion.astype(np.uint8) * 255).save(root / "masks" / f"{sha1}.png")
    for patch, _ in _patches(spec, _UNLABELLED, spec.n_unlabelled):
        _save(root / "test", patch)
    table = pd.DataFrame(rows, columns=["id", "label", "slide_id"])
    table[["id", "label"]].to_csv(root / "train_labels.csv", index=False, lineterminator="\n")
    table[["id", "slide_id"]].to_csv(root / "slides.csv", index=False, lineterminator="\n")


def _write_pcam(root: Path, spec: HistopathologyPhantomSpec) -> None:
    (root / "masks").mkdir()
    made = list(_patches(spec, _LABELLED, spec.n_images))
    for word in PCAM_PARTITIONS:
        # Whole slides, as PCam has it.
        part = [(patch, slide) for patch, slide in made if _pcam_partition(slide, spec.n_slides) == word]
        labels = np.array([patch.is_tumor for patch, _ in part], dtype=np.uint8)
        for path, name, values in (
            (f"{PCAM_PREFIX}{word}_x.h5", "x", np.stack([patch.pixels for patch, _ in part])),
            (f"{PCAM_PREFIX}{word}_y.h5", "y", labels.reshape(-1, 1, 1, 1)),
            (f"masks/{word}.h5", "mask", np.stack([patch.lesion for patch, _ in part]).astype(np.uint8)),
        ):
            with h5py.File(root / path, "w") as file:
                file.create_dataset(name, data=values)
        slides = pd.DataFrame({"wsi": [f"slide-{slide:03d}" for _, slide in part]})
        slides.to_csv(root / f"{PCAM_PREFIX}{word}_meta.csv", lineterminator="\n")


def _pcam_partition(slide: int, n_slides: int) -> str:
    place = (slide + 0.5) / n_slides
    for word, share in _PCAM_SHARES.items():
        if place < share:
            return word
        place -= share
    return "test"


def _patches(spec: HistopathologyPhantomSpec, part: int, n: int) -> Iterator[tuple[Patch, int]]:
    """Patches and the numbers of their slides, equally many of each slide and tumours in all of them."""
    order = np.random.default_rng([spec.seed, part]).permutation(n) % spec.n_slides
    stains = [draw_slide(np.random.default_rng([spec.seed, _SLIDES, slide])) for slide in range(spec.n_slides)]
    for number, slide in enumerate(order.tolist()):
        # Evenly spread, so that the share is met by any number of patches.
        tumor = int((number + 1) * spec.tumor_fraction) > int(number * spec.tumor_fraction)
        random = np.random.default_rng([spec.seed, part, number])
        yield draw_patch(stains[slide], random, tumor=tumor, difficulty=spec.difficulty), slide


def _save(folder: Path, patch: Patch) -> str:
    """Under its id, as Kaggle gives them: the SHA-1 of the pixels."""
    sha1 = hashlib.sha1(patch.pixels.tobytes(), usedforsecurity=False).hexdigest()
    Image.fromarray(patch.pixels).save(folder / f"{sha1}.tif")
    return sha1
