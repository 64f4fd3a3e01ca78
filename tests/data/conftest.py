"""A cohort small enough for every test: twelve scans of about 40^3 voxels in LUNA16 layout, and their store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungdet.data.augment import CropAugmentation
from lungdet.data.intensity import Window
from lungdet.data.luna16 import Luna16DataModule
from lungdet.data.sampling import BalancedSampling
from lungdet.data.splits import Holdout
from lungdet.io.luna16 import find_scans
from lungdet.store.preprocess import preprocess
from lungdet.store.schema import CropSize, StoreSpec

N_SCANS = 12
SPACING_XYZ_MM = [(1.0, 1.0, 1.0), (0.7, 0.7, 2.0)]
ORIGIN_XYZ_MM = (-20.0, 10.0, -100.0)
HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = {} {} {}
ElementSpacing = {} {} {}
DimSize = {} {} {}
ElementType = MET_SHORT
ElementDataFile = {}
"""


def write_scan(folder: Path, uid: str, hu: np.ndarray, spacing_xyz_mm: tuple[float, float, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    hu.astype("<i2").tofile(folder / f"{uid}.raw")
    text = HEADER.format(*ORIGIN_XYZ_MM, *spacing_xyz_mm, *hu.shape[::-1], f"{uid}.raw")
    (folder / f"{uid}.mhd").write_text(text)


@pytest.fixture(scope="session")
def luna_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve scans in four subsets, eleven patients (P00 has two series, in subsets 0 and 3), nodules in nine scans."""
    root = tmp_path_factory.mktemp("collection")
    generator = np.random.default_rng(0)
    series, annotations, candidates = [], [], []
    for n in range(N_SCANS):
        uid, subset, spacing = f"1.2.{n:03d}", n % 4, SPACING_XYZ_MM[n % 2]
        shape = (40, 44, 42) if n % 2 == 0 else (20, 50, 48)
        hu = generator.normal(-800, 60, shape)
        index = generator.uniform(0.1, 0.9, (24, 3)) * shape
        points = index[:, ::-1] * spacing + ORIGIN_XYZ_MM
        n_nodules = 0 if n in (2, 5, 8) else 1 + n % 2
        grid = np.stack(np.meshgrid(*(np.arange(m) for m in shape), indexing="ij"), -1)
        for k, point in enumerate(points):
            if k < n_nodules:
                near = np.linalg.norm((grid - index[k]) * spacing[::-1], axis=-1) < 4
                hu[near] = generator.normal(30, 20, int(near.sum()))
                annotations.append((uid, *point, 8.0))
            candidates.append((uid, *point, int(k < n_nodules)))
        write_scan(root / f"subset{subset}", uid, hu.clip(-1024, 3071).round(), spacing)
        series.append((uid, subset, "P00" if n in (0, 3) else f"P{n:02d}"))
    # Shuffled, so that nothing may rely on the order of the file.
    candidates = [candidates[k] for k in generator.permutation(len(candidates))]
    point_columns = ["seriesuid", "coordX", "coordY", "coordZ"]
    pd.DataFrame(series, columns=["seriesuid", "subset", "patient_id"]).to_csv(root / "series.csv", index=False)
    pd.DataFrame(annotations, columns=[*point_columns, "diameter_mm"]).to_csv(root / "annotations.csv", index=False)
    pd.DataFrame(candidates, columns=[*point_columns, "class"]).to_csv(root / "candidates_V2.csv", index=False)
    return root


@pytest.fixture(scope="session")
def store_spec() -> StoreSpec:
    return StoreSpec(spacing_mm="native", lung_mask=False)


@pytest.fixture(scope="session")
def luna_store(luna_root: Path, store_spec: StoreSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of all twelve scans."""
    path = tmp_path_factory.mktemp("stores") / "luna16.zarr"
    report = preprocess(find_scans(luna_root), path, store_spec, workers=1)
    assert not report.failed
    return path


@pytest.fixture
def make_datamodule(luna_root: Path, luna_store: Path, store_spec: StoreSpec) -> Callable[..., Luna16DataModule]:
    """A DataModule of the small cohort, with any argument changed."""

    def make(**changed: Any) -> Luna16DataModule:
        settings: dict[str, Any] = {
            "root": luna_root,
            "store_path": luna_store,
            "store": store_spec,
            "crop": CropSize(vox=(8, 12, 10)),
            "window": Window(),
            "sampling": BalancedSampling(epoch_size=32),
            "augment": CropAugmentation(),
            "split": Holdout(val_fraction=0.25, test_fraction=0.25),
            "batch_size": 8,
        }
        return Luna16DataModule(**(settings | changed))

    return make
