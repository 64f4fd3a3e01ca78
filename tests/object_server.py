"""A real S3 server in the test process, the environment that leads to it, and answers that fail on purpose."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from lungdet.bench.s3_server import S3Server, s3_server
from lungdet.store import chunk_cache, object_client

BUCKET = "bucket"


@contextmanager
def s3_for_tests(monkeypatch: pytest.MonkeyPatch, cache: Any) -> Iterator[S3Server]:
    """The server with one bucket; retries wait milliseconds, the cache lies in `cache`."""
    for name in ("AWS_PROFILE", "AWS_SKIP_SIGNATURE", "AWS_ENDPOINT_URL_S3", chunk_cache.SIZE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(chunk_cache.FOLDER_VARIABLE, str(cache))
    monkeypatch.setitem(object_client.BACKOFF, "init_backoff", timedelta(milliseconds=1))
    forget_clients()
    with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        server.make_bucket(BUCKET)
        server.requests.clear()
        yield server
    forget_clients()


def forget_clients() -> None:
    """Have the next request read the environment anew."""
    object_client.client.cache_clear()
    chunk_cache.shared_cache.cache_clear()


class Failing:
    """Answers some requests itself, with an error, before the server sees them.

    Args:
        status: what it says, such as "503 Service Unavailable"; "reset" drops the connection.
        code: word in the XML that goes with it.
        times: how many requests; the others go on to the server.
        part: only those whose path contains this.
        method: only those.
    """

    def __init__(self, status: str, *, code: str = "", times: int = 10**6, part: str = "", method: str = "") -> None:
        self.status, self.code, self.left, self.part, self.method = status, code, times, part, method
        self.answered = 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes] | None:
        fits = self.part in environ["PATH_INFO"] and self.method in ("", environ["REQUEST_METHOD"])
        if not fits or self.left == 0:
            return None
        self.left -= 1
        self.answered += 1
        if self.status == "reset":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError("on purpose")
        start_response(self.status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{self.code}</Code><Message>on purpose</Message></Error>".encode()]
