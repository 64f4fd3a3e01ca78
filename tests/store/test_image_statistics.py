"""Mean and deviation of stored images: exact, and a file that is refused when it is not theirs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lungdet.errors import MissingFileError, StoreError
from lungdet.store.image_statistics import ImageMoments, image_moments, read_statistics, write_statistics

MOMENTS = ImageMoments((0.25, 0.5, 1 / 3), (0.1, 0.2, 0.3), 7, "abc-3")


def test_moments_are_those_of_all_pixels_in_unit_range() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 9, 8, 3), dtype=np.uint8)
    moments = image_moments(iter(images), n_channels=3, fingerprint="f")
    unit = images.reshape(-1, 3) / 255
    np.testing.assert_allclose(moments.mean, unit.mean(axis=0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(moments.std, unit.std(axis=0), rtol=0, atol=1e-9)
    assert (moments.n_images, moments.fingerprint) == (20, "f")


def test_written_and_read(tmp_path: Path) -> None:
    assert write_statistics(tmp_path, MOMENTS) == tmp_path / "statistics.json"
    assert read_statistics(tmp_path) == read_statistics(tmp_path / "statistics.json", fingerprint="abc-3") == MOMENTS
    assert json.loads((tmp_path / "statistics.json").read_text()) == {
        "mean": [0.25, 0.5, 1 / 3],
        "std": [0.1, 0.2, 0.3],
        "n_images": 7,
        "fingerprint": "abc-3",
    }


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="not computed yet; type lungdet explore"):
        read_statistics(tmp_path)
    write_statistics(tmp_path, MOMENTS)
    with pytest.raises(StoreError, match="fingerprint abc-3, these have other; type lungdet explore"):
        read_statistics(tmp_path, fingerprint="other")
    for text in ("{", '{"mean": [1], "std": [1, 2], "n_images": 1, "fingerprint": ""}', '{"mean": 1}'):
        (tmp_path / "statistics.json").write_text(text)
        with pytest.raises(StoreError, match="damaged"):
            read_statistics(tmp_path)
    with pytest.raises(StoreError, match="no image was read"):
        write_statistics(tmp_path, image_moments([], n_channels=1))
