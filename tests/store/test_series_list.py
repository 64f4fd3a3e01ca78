"""Which scans a folder holds; lists and names of object stores are those of `test_remote_store`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungdet.errors import StoreError
from lungdet.store.location import ObjectFolder
from lungdet.store.series_list import read_series, stored_series, write_series, written_series


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in ("1.2.10", "1.2.9", ".being-written"):
        (tmp_path / "scans" / name).mkdir(parents=True)
    (tmp_path / "scans" / "note.txt").touch()
    return tmp_path


def test_scans_of_a_folder_are_its_folders_whatever_a_list_says(store: Path) -> None:
    """Neither hidden folders, which are half written, nor files; sorted as text."""
    assert written_series(store) == ["1.2.10", "1.2.9"]
    write_series(store, ["1.2.77"])
    assert stored_series(store) == ("1.2.10", "1.2.9")


def test_an_empty_store_has_no_scans(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    assert stored_series(tmp_path) == ()


def test_a_list_comes_back_sorted_and_is_forgotten(tmp_path: Path) -> None:
    assert read_series(tmp_path) is None
    write_series(tmp_path, ["b", "c", "a"])
    assert read_series(tmp_path) == ["a", "b", "c"]
    assert json.loads((tmp_path / "scans" / "zarr.json").read_text())["node_type"] == "group", "zarr reads it too"
    write_series(tmp_path, [])
    assert read_series(tmp_path) == [], "no scans is not the same as no list"
    write_series(tmp_path, None)
    assert read_series(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"attributes": {}}', '{"attributes": {"lungdet": null}}'])
def test_what_is_no_list_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "zarr.json").write_text(text)
    assert read_series(tmp_path) is None


@pytest.mark.parametrize(("root", "says"), [("https://host", True), ("http://host", True), ("s3://bucket", False)])
def test_only_a_server_that_cannot_list_needs_the_list(root: str, says: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ObjectFolder(root, "stores/a")
    monkeypatch.setattr("lungdet.store.series_list.read_series", lambda store: None)
    monkeypatch.setattr(ObjectFolder, "names_below", lambda self: iter(["a/zarr.json", "b/hu/zarr.json", "zarr.json"]))
    if says:
        with pytest.raises(StoreError, match=rf"^{root}/stores/a has no list of its scans .* finish it: lungdet prep"):
            stored_series(folder)
    else:
        assert stored_series(folder) == ("a",), "a scan without its zarr.json, the last object, is not whole"
