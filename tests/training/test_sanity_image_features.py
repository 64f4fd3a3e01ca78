"""Border features of images see nothing of the middle; those of files and frames are hand-made ones; shortcuts fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.store.image_files import collection_of

from lungdet.data.images import ImageDataModule
from lungdet.data.sampling import NaturalSampling
from lungdet.data.splits import Holdout
from lungdet.io.image_collection import ImageCollection
from lungdet.store.dark_frame import DarkFrame
from lungdet.store.image_preprocess import ImageSpec
from lungdet.training.sanity_image_features import (
    BORDER_PIXELS,
    border_names,
    border_statistics,
    file_features,
    image_border_features,
    size_and_frame_features,
)
from lungdet.training.sanity_shortcut import check_shortcut

N = 160
DRAWS = {"n_resamples": 100, "seed": 0}


class Pictures(ImageDataModule):
    """Grey pictures of a folder; odd ones are positive."""

    data_name = "pictures"
    channels = 1

    def read_collection(self) -> ImageCollection:
        return collection_of(self.root)


def write(folder: Path, *, framed: Callable[[int], bool], middle: int = 0, n: int = N) -> None:
    """Noise of 80 x 80; odd ones are brighter in the middle; some lie in a black frame that adds 8 pixels a side."""
    folder.mkdir()
    for number in range(n):
        image = np.random.default_rng(number).integers(90, 160, (80, 80), dtype=np.uint8)
        image[30:50, 30:50] += np.uint8(middle * (number % 2))
        Image.fromarray(np.pad(image, 8) if framed(number) else image).save(folder / f"{number:03d}.png")


def opened(folder: Path, *, dark_frame: DarkFrame | None) -> Pictures:
    datamodule = Pictures(
        root=folder,
        store_path=folder.with_name("whole.zarr" if dark_frame is None else "cut.zarr"),
        store=ImageSpec(size_hw=(64, 64), dark_frame=dark_frame),
        sampling=NaturalSampling(),
        split=Holdout(val_fraction=0.1, test_fraction=0.4, seed=1),
    )
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def check(datamodule: Pictures) -> Any:
    test = datamodule.records[datamodule.records["partition"] == "test"]
    run = test.assign(logit=np.random.default_rng(9).normal(size=len(test)) + test["label"])
    return check_shortcut(datamodule, run, no_run_because="", **DRAWS)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_middle_does_not_enter_and_every_side_does(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 16, channels), dtype=np.uint8)
    before = border_statistics(images)
    assert before.shape == (5, len(border_names(channels)))
    assert len(set(border_names(channels))) == len(border_names(channels))
    changed = images.copy()
    changed[:, BORDER_PIXELS:-BORDER_PIXELS, BORDER_PIXELS:-BORDER_PIXELS] = 255
    assert np.array_equal(border_statistics(changed), before)
    for place in ((0, 7), (11, 7), (6, 1), (6, 14)):
        changed = images.copy()
        changed[(slice(None), *place)] ^= 255
        assert (border_statistics(changed) != before).any(axis=1).all()


def test_names_and_values_belong_together() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 10, 14, 3), dtype=np.uint8)
    images[:, -BORDER_PIXELS:, :, 2] = 250
    table = pd.DataFrame(border_statistics(images), columns=border_names(3))
    assert table["blue bottom side mean"].tolist() == [250.0] * 4
    assert table["blue bottom side sd"].tolist() == [0.0] * 4
    mask = np.ones((10, 14), bool)
    mask[2:-2, 2:-2] = False
    green = images[2, ..., 1][mask].astype(float)
    row = table.iloc[2]
    assert row["green border mean"] == pytest.approx(green.mean())
    assert row["green border 75 %"] == pytest.approx(np.percentile(green, 75))
    assert row["green border 64 to 127"] == pytest.approx(((green >= 64) & (green <= 127)).mean())
    shares = [name for name in border_names(3) if name.startswith("red border") and " to " in name]
    assert len(shares) == 6
    assert row[shares].sum() == pytest.approx(1), "every pixel is in one of the bins"


def test_features_of_frames_and_files_are_those_of_each_row(tmp_path: Path) -> None:
    write(tmp_path / "pictures", framed=lambda number: number % 4 == 0, n=40)
    Image.new("RGB", (100, 50), (30, 90, 200)).save(tmp_path / "pictures/041.png")
    datamodule = opened(tmp_path / "pictures", dark_frame=DarkFrame())
    rows = np.random.default_rng(0).permutation(len(datamodule.records))
    names = datamodule.records["series_uid"].to_numpy()[rows]
    found: Any = size_and_frame_features(datamodule, rows).set_index(names)
    assert found.loc["041", ["original height", "original width", "original aspect"]].tolist() == [50, 100, 2]
    assert found.loc["004", "original height"] == 96
    for side in ("top", "left", "bottom", "right"):
        # 8 of 96 rows are frame; the crop keeps a small pad, and may take a noisy line.
        assert found.loc["004", f"frame cut at the {side}"] == pytest.approx(8 / 96, abs=3 / 96)
        assert found.loc["001", f"frame cut at the {side}"] == 0
    files: Any = file_features(datamodule, rows).set_index(names)
    for name in ("004", "001", "041"):
        size = (tmp_path / f"pictures/{name}.png").stat().st_size
        assert files.loc[name, "bytes of the file"] == size
        pixels = found.loc[name, "original height"] * found.loc[name, "original width"]
        assert files.loc[name, "bytes per pixel"] == pytest.approx(size / pixels)
    assert files["grey values in the file"].to_dict() == {name: float(name != "041") for name in names}
    assert files["suffix .png"].eq(1).all()
    stored: Any = image_border_features(datamodule, rows).set_index(names)
    shell = datamodule.store.image("041")
    assert stored.loc["041", "top side mean"] == pytest.approx(shell[:BORDER_PIXELS].mean())
    (tmp_path / "pictures/041.png").unlink()
    gone = file_features(datamodule, rows)["bytes of the file"].isna().to_numpy()
    assert names[gone].tolist() == ["041"]


def test_rows_of_shared_files_have_no_file_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "pictures", framed=lambda number: False, n=20)
    datamodule = opened(tmp_path / "pictures", dark_frame=None)
    images = datamodule.collection.images.assign(row=np.arange(20))
    datamodule._collection = dataclasses.replace(datamodule.collection, images=images)
    files = file_features(datamodule, np.arange(len(datamodule.records)))
    assert files[["bytes of the file", "bytes per pixel", "grey values in the file"]].isna().all(axis=None)


def test_without_a_shortcut_it_passes_though_the_middle_tells_all(tmp_path: Path) -> None:
    write(tmp_path / "pictures", framed=lambda number: number % 3 == 0, middle=80)
    found = check(opened(tmp_path / "pictures", dark_frame=None))
    border = found.numbers[0].estimate
    assert border.low < 0.5 < border.high
    assert "From border pixels alone labels cannot be told" in found.says
    assert "From size and frame alone labels cannot be told" in found.says


def test_a_frame_that_goes_with_the_label_is_in_the_border_and_cut_off_in_the_size(tmp_path: Path) -> None:
    """Nine of ten positives are framed: the frame tells where it is left on, and what was cut tells afterwards."""
    write(tmp_path / "pictures", framed=lambda number: number % 2 == 1 and number % 20 != 1)
    left_on = check(opened(tmp_path / "pictures", dark_frame=None))
    by_name = {number.name: number.estimate.value for number in left_on.numbers}
    assert by_name["AUROC from border pixels, gradient boosting"] > 0.9
    assert left_on.verdict == "failed"
    assert any("most useful of the border pixels" in caution.lower() for caution in left_on.cautions)

    cut = check(opened(tmp_path / "pictures", dark_frame=DarkFrame()))
    frame = next(n.estimate.value for n in cut.numbers if n.name == "AUROC from size and frame, logistic regression")
    assert frame > 0.9
