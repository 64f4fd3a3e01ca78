"""A real S3 server (moto's) on the loopback interface, in a thread of this process, that counts what it is asked."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

#: Called with the WSGI environment before the server is; an answer of its own stands instead of the server's.
Before = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes] | None]


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: GET, PUT ...
        path: bucket and key.
        range: the header of this name, empty without.
        n_bytes: of the answer.
    """

    method: str
    path: str
    range: str
    n_bytes: int


@dataclass
class S3Server:
    """The running server.

    Attributes:
        url: what AWS_ENDPOINT_URL has to be.
        requests: what it was asked, in order.
        before: if set, sees every request first.
    """

    url: str = ""
    requests: list[Request] = field(default_factory=list)
    before: Before | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables that send an S3 client here; the server takes any key."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": "us-east-1",
        }

    def make_bucket(self, name: str) -> None:
        """A new bucket, that anyone may read by http as well."""
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT", headers={"x-amz-acl": "public-read"})
        urllib.request.urlopen(request).close()

    def counting(self, server: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """The WSGI application, with `before` and the count around it."""

        def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            body = None if self.before is None else self.before(environ, start_response)
            content = b"".join(server(environ, start_response) if body is None else body)
            asked = (environ["REQUEST_METHOD"], environ["PATH_INFO"].lstrip("/"), environ.get("HTTP_RANGE", ""))
            self.requests.append(Request(*asked, len(content)))
            return [content]

        return answer


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server for the duration of the block; it begins without buckets.

    Raises:
        ImportError: moto is not installed.
    """
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    class Silent(MotoRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:
            """Say nothing about requests."""

    running = S3Server()
    s3_backends.reset()
    application = running.counting(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Silent)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    running.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        s3_backends.reset()


def totals(requests: Iterable[Request]) -> Mapping[str, int]:
    """Number of requests, and bytes of their answers."""
    listed = list(requests)
    return {"requests": len(listed), "bytes": sum(request.n_bytes for request in listed)}
