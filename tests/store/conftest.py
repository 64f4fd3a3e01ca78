"""Small scans on disk and a store of them, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk

from lungdet.geometry import Geometry
from lungdet.store.preprocess import preprocess
from lungdet.store.schema import StoreSpec

OBLIQUE = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)


def ct_like(shape: tuple[int, int, int], seed: int) -> npt.NDArray[np.int16]:
    """Smooth noise over the whole HU range and beyond."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    hu: npt.NDArray[np.int16] = np.clip(noise / noise.std() * 900 - 400, -3024, 3100).astype(np.int16)
    return hu


def write_mhd(path: Path, hu: npt.NDArray[np.int16], geometry: Geometry) -> Path:
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing(geometry.spacing_xyz_mm)
    image.SetOrigin(geometry.origin_xyz_mm)
    image.SetDirection(geometry.direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three scans: ordinary, flipped, oblique; 36 to 70 voxels a side."""
    folder = tmp_path_factory.mktemp("scans")
    geometries = {
        "1.2.1": Geometry((40, 70, 66), (-30.0, -20.0, 10.0), (0.7, 0.7, 1.5)),
        "1.2.2": Geometry((36, 64, 64), (40.0, 30.0, -50.0), (0.9, 0.8, 2.0), (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
        "1.2.3": Geometry((50, 48, 52), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), OBLIQUE),
    }
    return {
        uid: write_mhd(folder / f"{uid}.mhd", ct_like(g.shape_zyx, seed=n), g)
        for n, (uid, g) in enumerate(geometries.items())
    }


@pytest.fixture(scope="session")
def make_store(scans: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A store of the three scans with the given settings, made once for each."""
    made: dict[StoreSpec, Path] = {}

    def make(spec: StoreSpec = StoreSpec()) -> Path:  # noqa: B008
        if spec not in made:
            made[spec] = tmp_path_factory.mktemp("store") / "ct.zarr"
            assert not preprocess(scans, made[spec], spec).failed
        return made[spec]

    return make
