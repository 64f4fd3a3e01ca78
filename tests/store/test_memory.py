"""Preprocessing never holds more than four copies of a scan, measured on a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import SimpleITK as sitk

from lungdet.bench.drawn.scans import draw_chest
from lungdet.bench.processes import in_new_process, peak_mb
from lungdet.store.marker import write_marker
from lungdet.store.schema import StoreSpec
from lungdet.store.writer import write_scan

SHAPE = (120, 512, 512)


def store(path: Path, folder: Path, spec: StoreSpec) -> float:
    """What the process held before, in MB."""
    write_marker(folder, spec)
    before = peak_mb()
    write_scan(path, folder, spec, series_uid="scan")
    return before


@pytest.fixture(scope="module")
def image() -> sitk.Image:
    image = sitk.GetImageFromArray(draw_chest(SHAPE, seed=0))
    image.SetSpacing((0.7, 0.7, 2.5))
    return image


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "spacing_mm"),
    [("mhd", (1.0, 1.0, 1.0)), ("mhd", "native"), ("nii.gz", (1.0, 1.0, 1.0))],
)
def test_at_most_four_copies(
    suffix: str, spacing_mm: tuple[float, float, float] | Literal["native"], image: sitk.Image, tmp_path: Path
) -> None:
    path = tmp_path / f"scan.{suffix}"
    sitk.WriteImage(image, str(path))
    spec = StoreSpec(spacing_mm=spacing_mm)
    before, peak = in_new_process(store, path, tmp_path / "store", spec)
    source_mb = 2 * np.prod(SHAPE) / 1e6
    # On this scan 1 mm is a grid of 300 x 358 x 358: somewhat more than the scan has.
    stored_mb = source_mb if spacing_mm == "native" else 2 * 300 * 358 * 358 / 1e6
    assert 1 < (peak - before) / max(source_mb, stored_mb) <= 4
