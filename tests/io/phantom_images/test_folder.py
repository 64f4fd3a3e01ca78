from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.errors import StoreError
from lungdet.io.phantom_images.folder import write_once
from lungdet.io.phantom_images.spec import ImagePhantomSpec


def fill(root: Path) -> None:
    (root / "image").write_text("pixels")


def test_an_interrupted_collection_leaves_nothing_and_is_written_the_next_time(tmp_path: Path) -> None:
    def stops(root: Path) -> None:
        fill(root)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_once(tmp_path / "x", ImagePhantomSpec(), stops)
    assert list(tmp_path.iterdir()) == []
    assert write_once(tmp_path / "x", ImagePhantomSpec(), fill)
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["image", "phantom.json"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert write_once(tmp_path / "x", ImagePhantomSpec(), fill)
    assert (tmp_path / "x/image").is_file()


def test_the_difference_of_two_collections_is_named(tmp_path: Path) -> None:
    write_once(tmp_path / "x", ImagePhantomSpec(seed=1), fill)
    with pytest.raises(StoreError, match=r"another phantom collection \(seed is 1, not 2\)"):
        write_once(tmp_path / "x", ImagePhantomSpec(seed=2), fill)


def test_a_json_file_that_is_no_spec_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "phantom.json").write_text("[1]")
    with pytest.raises(StoreError, match="no phantom collection"):
        write_once(tmp_path, ImagePhantomSpec(), fill)
