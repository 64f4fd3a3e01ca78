"""A folder is a store when its marker says so; other settings are refused with the differences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zarr

from lungdet.errors import MissingFileError, StoreError
from lungdet.store.marker import check_marker, read_marker, write_marker
from lungdet.store.schema import StoreSpec


def test_an_empty_store_is_a_zarr_group(tmp_path: Path) -> None:
    write_marker(tmp_path / "s", StoreSpec())
    group = zarr.open_group(tmp_path / "s", mode="r")
    assert read_marker(tmp_path / "s")["fingerprint"] == StoreSpec().fingerprint
    assert list(group.group_keys()) == ["scans"]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no store at"):
        read_marker(tmp_path / "s")


def test_a_folder_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a lungdet store"):
        read_marker(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is not a lungdet store"):
        read_marker(tmp_path / "file")


def test_another_format(tmp_path: Path) -> None:
    write_marker(tmp_path, StoreSpec())
    record = json.loads((tmp_path / "zarr.json").read_text())
    record["attributes"]["lungdet"]["format"] = 99
    (tmp_path / "zarr.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match="has format 99, this lungdet reads 1"):
        read_marker(tmp_path)


@pytest.mark.parametrize("missing", ["fingerprint", "spec", "format"])
def test_a_record_without_what_is_needed(missing: str, tmp_path: Path) -> None:
    write_marker(tmp_path, StoreSpec())
    record = json.loads((tmp_path / "zarr.json").read_text())
    del record["attributes"]["lungdet"][missing]
    (tmp_path / "zarr.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match="is not a lungdet store"):
        check_marker(tmp_path, StoreSpec(), command="x")


def test_other_settings_are_refused_with_both_values(tmp_path: Path) -> None:
    write_marker(tmp_path, StoreSpec())
    check_marker(tmp_path, StoreSpec(codec="none"), command="x")
    with pytest.raises(
        StoreError, match=r"spacing_mm: store \[1.0, 1.0, 1.0\], asked native\). Rebuild it: lungdet pre X;"
    ):
        check_marker(tmp_path, StoreSpec(spacing_mm="native"), command="lungdet pre X")


def test_an_older_algorithm_is_refused_too(tmp_path: Path) -> None:
    write_marker(tmp_path, StoreSpec())
    record = json.loads((tmp_path / "zarr.json").read_text())
    record["attributes"]["lungdet"]["fingerprint"] = "0" * 16
    (tmp_path / "zarr.json").write_text(json.dumps(record))
    with pytest.raises(StoreError, match="an earlier version of the algorithm"):
        check_marker(tmp_path, StoreSpec(), command="x")
