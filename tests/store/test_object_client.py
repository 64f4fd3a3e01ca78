"""Requests that fail first, for good, or for want of something: what is retried, and what a person is told."""

from __future__ import annotations

import builtins
import multiprocessing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.object_server import Failing, forget_clients

from lungdet.bench.s3_server import S3Server
from lungdet.errors import MissingFileError, StoreError
from lungdet.store import object_client
from lungdet.store.location import ObjectFolder
from lungdet.store.object_client import client, each, is_in_use
from lungdet.store.object_errors import explain

FILE = ObjectFolder("s3://bucket", "folder/file")


@pytest.fixture
def file(s3: S3Server) -> ObjectFolder:
    FILE.write(b"content " * 1000)
    s3.requests.clear()
    return FILE


@pytest.mark.parametrize("status", ["503 Slow Down", "500 Internal Server Error", "429 Too Many", "reset"])
def test_a_server_that_fails_twice_is_asked_again(s3: S3Server, file: ObjectFolder, status: str) -> None:
    s3.before = failing = Failing(status, code="SlowDown", times=2)
    assert file.read_bytes() == b"content " * 1000
    assert failing.answered == 2
    s3.before = failing = Failing(status, times=2)
    assert [bytes(part) for part in client(file.root).read_ranges(file.key, [0, 800], [7, 3], merge=0)] == [
        b"content",
        b"con",
    ]
    s3.before = failing = Failing(status, times=2, method="PUT")
    file.write(b"new")
    assert failing.answered == 2
    assert file.read_bytes() == b"new"


def test_retries_wait_longer_each_time_and_end() -> None:
    assert object_client.RETRY["max_retries"] == 6
    assert object_client.BACKOFF["init_backoff"] == timedelta(milliseconds=200)
    assert object_client.BACKOFF["base"] == 2


def test_a_server_that_stays_busy_is_given_up(s3: S3Server, file: ObjectFolder) -> None:
    s3.before = failing = Failing("503 Slow Down", code="SlowDown")
    with pytest.raises(StoreError, match=r"s3://bucket/folder/file: .*answer \(503 SlowDown\) after 7 attempts; try"):
        file.read_bytes()
    assert failing.answered == 7


def test_ranges_are_merged_when_they_are_near(s3: S3Server, file: ObjectFolder) -> None:
    starts, lengths = [0, 100, 5000], [10, 10, 10]
    for merge, requests in ((50, 3), (90, 2), (10**6, 1)):
        s3.requests.clear()
        parts = client(file.root).read_ranges(file.key, starts, lengths, merge=merge)
        assert [bytes(part) for part in parts] == [(b"content " * 1000)[s : s + 10] for s in starts]
        assert len(s3.requests) == requests


def test_the_end_of_an_object_and_what_changes_with_it(file: ObjectFolder) -> None:
    end, size, version = client(file.root).read_end(file.key, 9)
    assert (end, size) == (b" content ", 8000)
    assert client(file.root).read_end(file.key, 10**6)[0] == b"content " * 1000
    assert client(file.root).read_end(file.key, 9)[2] == version
    file.write(b"CONTENT " * 1000)
    assert client(file.root).read_end(file.key, 9)[2] != version


def test_what_is_missing_is_told_apart(s3: S3Server) -> None:
    with pytest.raises(MissingFileError, match="s3://bucket/none: no such object"):
        ObjectFolder("s3://bucket", "none").read_bytes()
    for request in (ObjectFolder.read_bytes, ObjectFolder.exists, lambda folder: folder.write(b"")):
        with pytest.raises(StoreError, match=r"s3://no-bucket: there is no such bucket at http://127.0.0.1:\d+; make"):
            request(ObjectFolder("s3://no-bucket", "x"))


@pytest.mark.parametrize(
    ("status", "code"),
    [("403 No", "AccessDenied"), ("403 No", "InvalidAccessKeyId"), ("401 No", ""), ("400 No", "ExpiredToken")],
)
def test_denied_access_says_where_credentials_come_from(
    s3: S3Server, file: ObjectFolder, status: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    forget_clients()
    s3.before = Failing(status, code=code)
    for request in (file.read_bytes, file.exists, lambda: file.write(b"")):
        with pytest.raises(StoreError, match=rf"access denied \({status[:3]}.*{code}\)\. .* AWS_PROFILE") as denied:
            request()
        assert "hunter2" not in str(denied.value)
        assert denied.value.__cause__ is None


@pytest.mark.parametrize(
    ("status", "code"), [("301 Moved", "PermanentRedirect"), ("400 Bad", "AuthorizationHeaderMalformed")]
)
def test_a_bucket_of_another_region(s3: S3Server, file: ObjectFolder, status: str, code: str) -> None:
    s3.before = Failing(status, code=code)
    with pytest.raises(StoreError, match="s3://bucket: the bucket lies in another region; set AWS_REGION to its own"):
        file.read_bytes()


def test_what_nobody_foresaw_is_told_without_the_query_of_an_address() -> None:
    original = ValueError("Error performing GET https://me:hunter2@host/x?sig=hunter2&a=b in 3 ms\nmore")
    told = str(explain(original, "az://container/x"))
    assert told == "az://container/x: Error performing GET https://host/x in 3 ms"


def test_what_a_server_says_is_told(s3: S3Server, file: ObjectFolder) -> None:
    s3.before = Failing("400 Bad", code="OutOfRange")
    with pytest.raises(StoreError, match=r"folder/file: the server refused it \(400 OutOfRange\): on purpose$"):
        file.read_bytes()


def test_a_page_of_a_busy_web_server_is_no_missing_network(s3: S3Server, file: ObjectFolder) -> None:
    s3.before = Failing("503 Busy")
    with pytest.raises(StoreError, match=r"file: the server could not answer \(503\) after 7 attempts"):
        ObjectFolder(s3.url, "bucket/folder/file").read_bytes()
    s3.before = Failing("403 No")
    with pytest.raises(StoreError, match=r"access denied \(403\); http:// reads public files only, .* type s3://"):
        ObjectFolder(s3.url, "bucket/folder/file").read_bytes()


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch, s3: S3Server) -> None:
    for endpoint, cause in (("http://127.0.0.1:9", "Connection refused"), ("http://nowhere.invalid", "failed to look")):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        forget_clients()
        with pytest.raises(StoreError, match=rf"{endpoint} cannot be reached after 7 attempts \({cause}.*AWS_END"):
            FILE.read_bytes()


def test_no_tls_has_to_be_allowed(monkeypatch: pytest.MonkeyPatch, s3: S3Server) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    forget_clients()
    with pytest.raises(StoreError, match=r"127.0.0.1:\d+ is no address .* needs AWS_ALLOW_HTTP=true"):
        FILE.read_bytes()


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    # The instance's identity is asked for next: nobody answers there.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9/169.254.169.254")
    forget_clients()
    with pytest.raises(StoreError, match=r"no credentials found; set AWS_ACCESS_KEY_ID .* or AWS_PROFILE"):
        FILE.read_bytes()


def test_a_profile_is_read_by_boto3(monkeypatch: pytest.MonkeyPatch, s3: S3Server, tmp_path: Path) -> None:
    pytest.importorskip("boto3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[lab]\naws_access_key_id = KEYOFLAB\naws_secret_access_key = hunter2\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    forget_clients()
    seen: list[str] = []
    s3.before = lambda environ, _: seen.append(environ.get("HTTP_AUTHORIZATION", ""))
    FILE.write(b"")
    assert "Credential=KEYOFLAB/" in seen[-1]
    monkeypatch.setenv("AWS_PROFILE", "none")
    forget_clients()
    with pytest.raises(StoreError, match="no credentials found"):
        FILE.read_bytes()


def test_a_profile_needs_boto3(monkeypatch: pytest.MonkeyPatch, s3: S3Server) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    forget_clients()
    with pytest.raises(StoreError, match="AWS_PROFILE is set, and profiles are read by boto3; type pip install boto3"):
        FILE.read_bytes()


def test_without_obstore(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refusing(name: str, *rest: Any, **named: Any) -> Any:
        if name.split(".", maxsplit=1)[0] == "obstore":
            raise ImportError(name)
        return original(name, *rest, **named)

    forget_clients()
    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(StoreError, match=r"s3://bucket: .* need obstore; type pip install 'lungdet\[objects\]'"):
        FILE.read_bytes()


def test_each_keeps_the_order_and_raises_the_first_error() -> None:
    assert each(lambda n: n * n, range(50)) == [n * n for n in range(50)]
    assert each(str, []) == []
    with pytest.raises(ZeroDivisionError):
        each(lambda n: 1 // n, [2, 1, 0])


def _tell(queue: Any) -> None:
    try:
        queue.put(FILE.read_bytes())
    except StoreError as error:
        queue.put(str(error))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_says_so_instead_of_waiting_for_ever(file: ObjectFolder) -> None:
    assert file.read_bytes()
    assert is_in_use()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_tell, args=(queue,))
    process.start()
    assert "was forked from one that reads object stores" in queue.get(timeout=20)
    process.join()
