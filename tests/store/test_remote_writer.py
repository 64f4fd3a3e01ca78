"""The order in which a scan's objects appear, without a server; with one it is that of `test_remote_store`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lungdet.errors import StoreError
from lungdet.store import remote_writer
from lungdet.store.location import ObjectFolder
from lungdet.store.remote_writer import refuse_writing, upload_scan


def test_the_old_scan_goes_first_and_the_new_one_is_announced_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("zarr.json", "hu/zarr.json", "hu/c/0/0/0", "lung/zarr.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "empty").mkdir()
    done: list[Any] = []
    monkeypatch.setattr(ObjectFolder, "delete_below", lambda self: done.append(("delete", str(self))))
    monkeypatch.setattr(ObjectFolder, "write", lambda self, file: done.append((str(self), file.read_text())))
    monkeypatch.setattr(remote_writer, "each", lambda work, items: [work(item) for item in items])
    upload_scan(tmp_path, ObjectFolder("s3://bucket", "scans/1.2"))
    names = ["hu/c/0/0/0", "hu/zarr.json", "lung/zarr.json", "zarr.json"]
    assert done == [("delete", "s3://bucket/scans/1.2"), *((f"s3://bucket/scans/1.2/{name}", name) for name in names)]


@pytest.mark.parametrize("root", ["https://host", "http://host:8000"])
def test_servers_without_writing_are_refused(root: str) -> None:
    with pytest.raises(StoreError, match=rf"^{root}/a: {root.partition(':')[0]}:// addresses are read only; prepro"):
        refuse_writing(ObjectFolder(root, "a"))


def test_all_others_are_written_to(tmp_path: Path) -> None:
    refuse_writing(tmp_path)
    for root in ("s3://bucket", "gs://bucket", "az://container"):
        refuse_writing(ObjectFolder(root, "a"))
