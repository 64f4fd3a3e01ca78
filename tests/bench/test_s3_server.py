"""What the server counts and who may answer before it; clients ask it in `store/test_object_client` and others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lungdet.bench.s3_server import Request, S3Server, totals

ENVIRON = {"REQUEST_METHOD": "GET", "PATH_INFO": "/bucket/a/b", "HTTP_RANGE": "bytes=0-3"}


def application(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    return [b"four", b"teen bytes"]


def test_every_request_is_counted_with_the_bytes_of_its_answer() -> None:
    server = S3Server()
    answer = server.counting(application)
    assert list(answer(ENVIRON, lambda *_: None)) == [b"fourteen bytes"]
    answer({"REQUEST_METHOD": "PUT", "PATH_INFO": "/bucket/a/b"}, lambda *_: None)
    assert server.requests == [
        Request("GET", "bucket/a/b", "bytes=0-3", 14),
        Request("PUT", "bucket/a/b", "", 14),
    ]
    assert totals(server.requests) == {"requests": 2, "bytes": 28}
    assert totals(iter([])) == {"requests": 0, "bytes": 0}


def test_another_may_answer_first() -> None:
    """An empty answer is one too; None leaves it to the server."""
    server = S3Server()
    seen: list[str] = []

    def before(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes] | None:
        seen.append(environ["PATH_INFO"])
        return [] if len(seen) == 1 else None

    server.before = before
    answer = server.counting(application)
    assert [list(answer(ENVIRON, lambda *_: None)) for _ in range(2)] == [[b""], [b"fourteen bytes"]]
    assert [request.n_bytes for request in server.requests] == [0, 14]


def test_the_environment_leads_here_with_keys_of_nobody() -> None:
    environment = S3Server(url="http://127.0.0.1:1").environment
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["AWS_ALLOW_HTTP"] == "true"
    assert environment["AWS_ACCESS_KEY_ID"] == environment["AWS_SECRET_ACCESS_KEY"] == "bench"
