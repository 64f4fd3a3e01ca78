"""Files of this process over HTTPS on the loopback interface: a server with or without ranges, and one like Azure's."""

from __future__ import annotations

import datetime
import email
import email.message
import hashlib
import ipaddress
import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

#: Which ranges a server answers: all, those with a begin (Azure; the others get the whole file), none.
Ranges = Literal["all", "bounded", "none"]
_DATE = "Sun, 01 Nov 2026 12:00:00 GMT"


@dataclass
class Files:
    """What a server has.

    Attributes:
        content: path, without its first slash -> bytes.
        ranges: that are answered.
        url: of the running server.
        requests: method, path and range of each.
        replaced: set to bytes, they stand for the content after the next HEAD.
    """

    content: dict[str, bytes] = field(default_factory=dict)
    ranges: Ranges = "all"
    url: str = ""
    requests: list[str] = field(default_factory=list)
    replaced: bytes | None = None


class _Reading(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: Files

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing about requests."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed:
            self.files.requests.append(f"{self.command} {unquote(self.path)} {self.headers.get('Range', '')}".strip())
        return parsed

    @property
    def key(self) -> str:
        return unquote(urlsplit(self.path).path)[1:]

    def do_HEAD(self) -> None:
        self.do_GET()
        if self.files.replaced is not None:
            self.files.content[self.key] = self.files.replaced

    def do_GET(self) -> None:
        if self.key not in self.files.content:
            return self.answer(404)
        content = self.files.content[self.key]
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if self.headers.get("If-Match", tag) != tag:
            return self.answer(412)
        about = {"ETag": tag, "Last_Modified": _DATE}
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        known = asked and (self.files.ranges == "all" or (self.files.ranges == "bounded" and asked[1]))
        if not asked or not known:
            return self.answer(200, content, **about)
        begin = int(asked[1]) if asked[1] else max(0, len(content) - int(asked[2]))
        end = min(int(asked[2]) + 1, len(content)) if asked[1] and asked[2] else len(content)
        return self.answer(206, content[begin:end], Content_Range=f"bytes {begin}-{end - 1}/{len(content)}", **about)


class _Azure(_Reading):
    """The requests of Azure's Blob service that a store needs, answered as Azurite does; keys are not checked."""

    account, container = "account", "bucket"

    def _is_there(self) -> bool:
        if "Authorization" not in self.headers:
            self.answer(403, b"<Error><Code>AuthorizationFailure</Code></Error>")
        elif self.key.split("/")[:2] != [self.account, self.container]:
            self.answer(404, b"<Error><Code>ContainerNotFound</Code></Error>")
        else:
            return True
        return False

    def do_GET(self) -> None:
        if not self._is_there():
            return None
        query = parse_qs(urlsplit(self.path).query)
        if query.get("comp") != ["list"]:
            return super().do_GET()
        begin = f"{self.account}/{self.container}/"
        blobs = "".join(
            f"<Blob><Name>{escape(name.removeprefix(begin))}</Name><Properties><Last-Modified>{_DATE}</Last-Modified>"
            f"<Etag>0x1</Etag><Content-Length>{len(content)}</Content-Length><Content-Type>a/b</Content-Type>"
            "</Properties></Blob>"
            for name, content in sorted(self.files.content.items())
            if name.startswith(begin + query.get("prefix", [""])[0])
        )
        text = f'<?xml version="1.0"?><EnumerationResults><Blobs>{blobs}</Blobs><NextMarker/></EnumerationResults>'
        return self.answer(200, text.encode(), Content_Type="application/xml")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self._is_there():
            self.files.content[self.key] = content
            self.answer(201, ETag=f'"{hashlib.sha256(content).hexdigest()[:16]}"', Last_Modified=_DATE)

    def do_POST(self) -> None:
        """Delete the blobs of a batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"]
        parts = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\n\n" + body).get_payload()
        answer = []
        for number, part in enumerate(parts):
            assert isinstance(part, email.message.Message)
            path = unquote(str(part.get_payload()).split()[1])[1:]
            status = "404 Not Found" if self.files.content.pop(path, None) is None else "202 Accepted"
            answer.append(f"Content-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\n\r\n")
        text = "".join(f"--b\r\n{part}\r\n" for part in answer) + "--b--\r\n"
        self.answer(202, text.encode(), Content_Type="multipart/mixed; boundary=b")


@contextmanager
def tls_server(folder: Path, *, azure: bool = False) -> Iterator[Files]:
    """Serve for the duration of the block; `folder` gets the certificate of its authority, authority.pem.

    Raises:
        ImportError: cryptography, which comes with moto, is not installed.
    """
    _write_certificates(folder)
    files = Files(ranges="bounded" if azure else "all")
    handler = type("Handler", (_Azure if azure else _Reading,), {"files": files})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that do not trust it hang up
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    files.url = f"https://127.0.0.1:{server.server_port}"
    try:
        yield files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _write_certificates(folder: Path) -> None:
    """authority.pem, and server.pem with the key and the certificate of 127.0.0.1 that it signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("authority", "server")]
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    for is_server, file in ((False, "authority.pem"), (True, "server.pem")):
        certificate = (
            x509.CertificateBuilder()
            .subject_name(names[is_server])
            .issuer_name(names[0])
            .public_key(keys[is_server].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=not is_server, path_length=None), critical=True)
            .add_extension(address, critical=False)
            .sign(keys[0], hashes.SHA256())
        )
        secret = keys[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        (folder / file).write_bytes(secret + pem if is_server else pem)
