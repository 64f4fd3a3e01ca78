"""Where a store lies: a local folder, or a folder of an object store (s3://, gs://, az://, https:// to read only)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lungdet.errors import StoreError

#: Scheme -> where credentials come from; nowhere else, so that none stands in a configuration or a log.
CREDENTIALS = {
    "s3": "the AWS chain (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, web identity, instance role)",
    "gs": "Google's chain (GOOGLE_APPLICATION_CREDENTIALS, gcloud auth application-default login, instance account)",
    "az": "Azure's chain (AZURE_STORAGE_ACCOUNT_NAME with a key, a token, a managed identity, or az login)",
    "https": "nowhere: these are public files",
    "http": "nowhere: these are public files",
}
_READ_ONLY = ("https", "http")
_ALLOWED = "a folder, s3://bucket/path, gs://bucket/path, az://container/path or, to read only, https://host/path"


@dataclass(frozen=True)
class ObjectFolder:
    """A folder, or one object, of an object store: the part of `pathlib.Path` that stores need. Pickles as its name.

    Attributes:
        root: scheme and bucket, `s3://bucket`.
        key: path below it without a slash at either end.
    """

    root: str
    key: str

    def __str__(self) -> str:
        return f"{self.root}/{self.key}" if self.key else self.root

    def __truediv__(self, name: str) -> ObjectFolder:
        return ObjectFolder(self.root, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """The last part."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> ObjectFolder:
        """The folder it lies in."""
        return ObjectFolder(self.root, self.key.rpartition("/")[0])

    @property
    def scheme(self) -> str:
        """What stands before `://`."""
        return self.root.partition(":")[0]

    @property
    def is_read_only(self) -> bool:
        """Whether its protocol has neither writing nor listing."""
        return self.scheme in _READ_ONLY

    def exists(self) -> bool:
        """Whether there is an object of this name, or one below it where that can be listed; errors as `read_bytes`."""
        from lungdet.store.object_client import client

        if self.is_read_only:
            return client(self.root).has(f"{self.key}/zarr.json")
        return next(self.names_below(), None) is not None

    def read_bytes(self) -> bytes:
        """The whole object.

        Raises:
            MissingFileError: there is none of this name.
            StoreError: no bucket, permission, network or such; says what to type.
        """
        from lungdet.store.object_client import client

        return client(self.root).read(self.key)

    def read_text(self) -> str:
        """The whole object as UTF-8; errors as `read_bytes`."""
        return self.read_bytes().decode()

    def write(self, content: bytes | Path) -> None:
        """Put one object, whole or not at all: bytes, or the content of a local file; errors as `read_bytes`."""
        from lungdet.store.object_client import client

        client(self.root).write(self.key, content)

    def names_below(self) -> Iterator[str]:
        """Names of all objects below, relative to this folder, as they are listed; errors as `read_bytes`."""
        from lungdet.store.object_client import client

        begin = len(self.key) + 1 if self.key else 0
        return (key[begin:] for key in client(self.root).keys_below(self.key))

    def delete_below(self) -> None:
        """Delete all objects below, each `zarr.json` before what it stands for. Errors as `read_bytes`.

        Stopped anywhere, it leaves no scan that looks whole.
        """
        from lungdet.store.object_client import client

        levels: dict[float, list[str]] = {}
        for name in self.names_below():
            is_record = name.rpartition("/")[2] == "zarr.json"
            levels.setdefault(name.count("/") if is_record else math.inf, []).append((self / name).key)
        for level in sorted(levels):
            client(self.root).delete(sorted(levels[level]))


StoreLocation = Path | ObjectFolder


def as_location(given: str | Path | ObjectFolder) -> StoreLocation:
    """What a store's path means.

    >>> str(as_location("s3://bucket/luna16.zarr/") / "scans")
    's3://bucket/luna16.zarr/scans'
    >>> as_location("stores/luna16.zarr").name
    'luna16.zarr'

    Raises:
        StoreError: a URL of another kind, or one that carries credentials (which are not repeated).
    """
    if isinstance(given, ObjectFolder):
        return given
    if isinstance(given, Path):
        if re.fullmatch(r"[a-z][a-z0-9]+:", given.parts[0] if given.parts else ""):
            raise StoreError(f"{given.parts[0]}// is no folder: give the URL as text, not as a pathlib.Path")
        return given
    if not is_url(given):
        return Path(given)
    refuse_credentials(given)
    scheme, _, rest = given.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in CREDENTIALS or not bucket:
        raise StoreError(f"store={given} is not a place for a store; allowed: {_ALLOWED}")
    return ObjectFolder(f"{scheme}://{bucket}", key.strip("/"))


def local_folder(given: str | Path) -> Path:
    """The folder of a store that has to be on a disk.

    Raises:
        StoreError: an address in an object store.
    """
    location = as_location(given)
    if isinstance(location, ObjectFolder):
        raise StoreError(
            f"data.store_path={location}: stores of images lie in a local folder; type data.store_path=<folder>"
        )
    return location


def is_url(text: str) -> bool:
    """Whether this names a place on a server rather than a path."""
    return "://" in text


def refuse_credentials(url: str) -> None:
    """Refuse a URL that carries a user, a password or a query, before it is written anywhere.

    Raises:
        StoreError: it does; the message repeats none of it.
    """
    scheme, _, rest = url.partition("://")
    server = rest.partition("/")[0]
    # A secret key may hold a slash, so that its `@` comes after the first one. No bucket's name has a colon.
    in_server = "@" in server or (":" in server and (scheme not in _READ_ONLY or not _has_port(url)))
    if in_server or "?" in rest or "#" in rest:
        known = scheme if scheme in CREDENTIALS else "s3"
        raise StoreError(
            f"a {known}:// address with a user, a password or a query (user:password@, ?token=...) is refused: it "
            f"would stand in configurations and logs. Type the bare address; credentials come from {CREDENTIALS[known]}"
        )


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port is not None
    except ValueError:
        return False
