"""Either collection is written where it is missing, and nothing that is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.errors import ConfigError
from lungdet.io.chest_xray import read_chest_xray
from lungdet.io.histopathology import read_histopathology
from lungdet.io.phantom_images import (
    ChestXrayPhantomSpec,
    HistopathologyPhantomSpec,
    ImagePhantomSpec,
    write_image_phantom,
)


def test_each_kind_is_written_once_and_read_by_the_reader_of_the_real_one(tmp_path: Path) -> None:
    xray, patches = ChestXrayPhantomSpec(n_images=20), HistopathologyPhantomSpec(n_images=20)
    assert write_image_phantom(tmp_path / "new/xray", xray)
    assert write_image_phantom(tmp_path / "new/patches", patches)
    assert len(read_chest_xray(tmp_path / "new/xray").images) == 20
    assert len(read_histopathology(tmp_path / "new/patches").patches) == 20
    assert not write_image_phantom(tmp_path / "new/xray", xray)


def test_a_spec_of_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.cohort: ImagePhantomSpec; allowed are ChestXrayPhantomSpec"):
        write_image_phantom(tmp_path / "x", ImagePhantomSpec())
