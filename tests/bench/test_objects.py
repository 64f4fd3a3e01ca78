"""The benchmark of object stores: its contenders agree, its counts, and what it does where the server is missing."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lungdet.bench import objects as module
from lungdet.bench.s3_server import Request, s3_server, totals


def test_measures_rates_requests_and_bytes(
    tmp_path: Path, shrink: Callable[[object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto", reason="moto[server] is a development dependency")
    shrink(module)
    monkeypatch.setenv("AWS_PROFILE", "of the user")
    before = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    lines = module.measure(quick=True, folder=tmp_path)
    assert [(line.unit, line.name) for line in lines] == [
        ("crops/s", module.ZARR),
        ("crops/s", module.COLD),
        ("crops/s", module.WARM),
        ("crops/request", module.ZARR),
        ("crops/request", module.COLD),
        ("crops/MB", module.ZARR),
        ("crops/MB", module.COLD),
    ]
    assert {line.baseline for line in lines} == {module.ZARR}
    assert all(0 < line.low <= line.median <= line.high for line in lines)
    by_request = {line.name: line.median for line in lines if line.unit == "crops/request"}
    assert by_request[module.COLD] > 2 * by_request[module.ZARR], "counted, so no matter of the machine"
    assert {name: value for name, value in os.environ.items() if name.startswith("AWS_")} == before


def test_without_the_server_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "moto" else object())
    with caplog.at_level(logging.WARNING):
        assert module.measure(quick=True, folder=tmp_path) == []
    assert "moto not installed; type pip install 'lungdet[objects,dev]'" in caplog.text


def test_the_server_counts_and_ends() -> None:
    pytest.importorskip("moto", reason="moto[server] is a development dependency")
    import urllib.error
    import urllib.request

    with s3_server() as server:
        server.make_bucket("bucket")
        as_it_is = {"Content-Type": "application/octet-stream"}
        put = urllib.request.Request(f"{server.url}/bucket/key", data=b"0123456789", method="PUT", headers=as_it_is)
        urllib.request.urlopen(put).close()
        get = urllib.request.Request(f"{server.url}/bucket/key", headers={"Range": "bytes=2-4"})
        assert urllib.request.urlopen(get).read() == b"234"
        assert server.requests[-1] == Request("GET", "bucket/key", "bytes=2-4", 3)
        assert totals(server.requests[-1:]) == {"requests": 1, "bytes": 3}
        url = server.url
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url)
