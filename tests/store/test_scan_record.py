"""What is said of a scan, read from its folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lungdet.errors import StoreError
from lungdet.store.reader import CtStore
from lungdet.store.scan_record import DamagedScanError, read_scan_record
from lungdet.store.schema import StoreSpec


def test_the_record_of_a_stored_scan(make_store: Callable[..., Path]) -> None:
    path = make_store()
    store = CtStore(path)
    record = read_scan_record(path / "scans" / "1.2.1", fingerprint=store.fingerprint)
    assert record.content_hash == hashlib.sha256(store.volume("1.2.1").tobytes()).hexdigest()
    assert record.geometry.shape_zyx == store.volume("1.2.1").shape
    assert record.source_geometry == store.source_geometry("1.2.1")


@pytest.mark.parametrize("text", [None, "", "[]", "{}", json.dumps({"attributes": {"lungdet": {"geometry": {}}}})])
def test_what_is_damaged_is_named(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "zarr.json").write_text(text)
    with pytest.raises(StoreError, match=r"damaged .* delete it and preprocess again"):
        read_scan_record(tmp_path, fingerprint="")


def test_a_scan_of_other_settings_is_refused(make_store: Callable[..., Path], tmp_path: Path) -> None:
    """As a worker writes it that did not notice that the store was made anew."""
    other = make_store(StoreSpec(clip_hu=(-1000, 400)))
    store = shutil.copytree(make_store(), tmp_path / "store")
    shutil.rmtree(store / "scans" / "1.2.1")
    shutil.copytree(other / "scans" / "1.2.1", store / "scans" / "1.2.1")
    assert CtStore(store).geometry("1.2.2").shape_zyx
    with pytest.raises(DamagedScanError, match=r"1\.2\.1: made with other settings than its store"):
        CtStore(store).volume("1.2.1")
