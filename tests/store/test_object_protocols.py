"""gs://, az:// and https:// by their own clients: a store is written, read and replaced as on s3://.

Google's XML protocol is that of S3, so the S3 server answers it; Azure's requests and https are answered by small TLS
servers of the tests. What was tried by hand against emulators: docs/object_stores.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.object_server import Failing, forget_clients
from tests.tls_server import Files, tls_server

from lungdet.bench.s3_server import S3Server
from lungdet.errors import StoreError
from lungdet.store import chunk_cache, object_client
from lungdet.store.location import ObjectFolder
from lungdet.store.object_client import client
from lungdet.store.preprocess import preprocess
from lungdet.store.reader import CtStore
from lungdet.store.schema import StoreSpec

UIDS = ("1.2.1", "1.2.2", "1.2.3")
GS, AZ = "gs://bucket/stores/ct.zarr", "az://bucket/stores/ct.zarr"


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever account the machine has is none of the tests'."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "GOOGLE_", "SSL_CERT_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The certificate to trust; retries wait milliseconds, the cache is a new one."""
    pytest.importorskip("cryptography", reason="cryptography comes with moto[server], a development dependency")
    pytest.importorskip("obstore", reason="obstore is the extra 'objects'")
    forget_settings(monkeypatch)
    monkeypatch.setenv(chunk_cache.FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    monkeypatch.setitem(object_client.BACKOFF, "init_backoff", timedelta(milliseconds=1))
    forget_clients()
    yield tmp_path / "authority.pem"
    forget_clients()


@pytest.fixture
def https(tmp_path: Path, authority: Path) -> Iterator[Files]:
    with tls_server(tmp_path) as files:
        yield files


@pytest.fixture
def azure(tmp_path: Path, authority: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    with tls_server(tmp_path, azure=True) as files:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "aHVudGVyMg==")
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{files.url}/account")
        yield files


@pytest.fixture
def google(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    forget_settings(monkeypatch)
    monkeypatch.setenv("GOOGLE_BASE_URL", s3.url)
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "hunter2")
    return s3


def assert_equal(url: str, local: CtStore) -> None:
    """All that is read from the store at an address is what is read from the local one."""
    store = CtStore(url)
    assert store.series_uids == local.series_uids
    rng = np.random.default_rng(0)
    uids = [UIDS[k] for k in rng.integers(0, 3, 12)]
    centers = [store.geometry(uid).index_to_world(rng.uniform(0, store.geometry(uid).shape_zyx)) for uid in uids]
    chosen = uids, np.asarray(centers)
    assert np.array_equal(store.crops(*chosen, (16, 20, 24)), local.crops(*chosen, (16, 20, 24)))
    for uid in UIDS:
        assert np.array_equal(store.volume(uid), local.volume(uid))


@pytest.mark.parametrize(("url", "server"), [(GS, "google"), (AZ, "azure")])
def test_a_store_is_written_read_and_replaced(
    url: str,
    server: str,
    request: pytest.FixtureRequest,
    scans: dict[str, Path],
    make_store: Callable[..., Path],
) -> None:
    request.getfixturevalue(server)

    def interrupt(done: int, total: int, uid: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preprocess(scans, url, StoreSpec(), progress=interrupt)
    assert CtStore(url).series_uids == UIDS[:1]
    assert preprocess(scans, url, StoreSpec()).stored == list(UIDS[1:])
    assert_equal(url, CtStore(make_store()))
    preprocess({"x": scans["1.2.3"]}, url, StoreSpec(), overwrite=True)
    assert CtStore(url).series_uids == ("x",)
    with pytest.raises(StoreError, match=rf"{url[:2]}://none: there is no such bucket at https?://127.0.0.1:\d+; make"):
        preprocess(scans, f"{url[:2]}://none/x", StoreSpec())


def test_a_large_object_goes_to_google_in_parts(google: S3Server) -> None:
    file = ObjectFolder("gs://bucket", "large")
    content = bytes(range(256)) * (11 << 12)  # 11 MB
    file.write(content)
    assert file.read_bytes() == content
    assert len([request for request in google.requests if request.method == "PUT"]) > 1


def test_google_denies_access(google: S3Server) -> None:
    google.before = Failing("401 Unauthorized", code="AuthenticationRequired")
    with pytest.raises(StoreError, match=r"access denied \(401.*GOOGLE_APPLICATION_CREDENTIALS") as denied:
        CtStore(GS)
    assert "hunter2" not in str(denied.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GOOGLE_SERVICE_ACCOUNT_KEY", '"hunter2"'),
        ("GOOGLE_SERVICE_ACCOUNT_KEY", '{"client_email":"a@b","private_key":"hunter2","private_key_id":"hunter2"}'),
        ("GOOGLE_APPLICATION_CREDENTIALS", "none.json"),
    ],
)
def test_credentials_of_google_that_are_none(
    name: str, value: str, google: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_BEARER_TOKEN")
    monkeypatch.setenv(name, value)
    with pytest.raises(StoreError, match=r"gs://bucket: the credentials cannot be used .*; set GOOGLE_APPL") as refused:
        CtStore(GS)
    assert "hunter2" not in str(refused.value)


def test_credentials_of_azure_that_are_none(azure: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "no base64!")
    with pytest.raises(StoreError, match=r"az://bucket: the credentials cannot be used \(Invalid Access Key"):
        CtStore(AZ)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_SKIP_SIGNATURE", "true")
    with pytest.raises(StoreError, match=r"access denied \(403 AuthorizationFailure\)\. .* Azure's chain"):
        CtStore(AZ)


@pytest.mark.parametrize("server", ["azure", "https"])
def test_the_end_of_an_object_where_ranges_need_a_begin(server: str, request: pytest.FixtureRequest) -> None:
    files: Files = request.getfixturevalue(server)
    files.ranges = "bounded"
    root, key = ("az://bucket", "x") if server == "azure" else (files.url, "account/bucket/x")
    files.content["account/bucket/x"] = b"content " * 100
    end, size, version = client(root).read_end(key, 3)
    assert (end, size) == (b"nt ", 800)
    assert client(root).read_end(key, 1000)[0] == b"content " * 100
    files.content["account/bucket/x"] = b"CONTENT " * 90
    assert client(root).read_end(key, 3)[1:] != (720, version)
    files.requests.clear()
    client(root).read_end(key, 3)
    assert files.requests[-2:] == ["HEAD /account/bucket/x", "GET /account/bucket/x bytes=717-719"]
    files.replaced = b"longer " * 1000
    with pytest.raises(StoreError, match="x: it was replaced just now; type the command again"):
        client(root).read_end(key, 3)


def test_a_store_is_read_by_https(https: Files, make_store: Callable[..., Path]) -> None:
    local = make_store()
    https.content |= {
        f"ct.zarr/{path.relative_to(local).as_posix()}": path.read_bytes()
        for path in local.rglob("*")
        if path.is_file()
    }
    assert_equal(f"{https.url}/ct.zarr", CtStore(local))
    assert any(request.rpartition(" ")[2].startswith("bytes=-") for request in https.requests)
    https.ranges = "none"
    with pytest.raises(StoreError, match=rf"hu/c/0/0/0: {https.url} does not send parts of files .*nginx"):
        CtStore(f"{https.url}/ct.zarr").volume("1.2.1")


def test_a_certificate_that_is_not_trusted(https: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(StoreError, match=r"the certificate of https://127.* \(UnknownIssuer\); set SSL_CERT_FILE"):
        CtStore(f"{https.url}/ct.zarr")
    assert https.requests == []
