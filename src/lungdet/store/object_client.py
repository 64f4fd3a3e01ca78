"""Requests to object stores: one obstore client per bucket and process, retries with backoff, errors in our words."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lungdet.errors import MissingFileError, StoreError
from lungdet.store.object_errors import explain

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import BackoffConfig, ObjectStore, RetryConfig

T = TypeVar("T")
S = TypeVar("S")

#: Requests that are under way together. A request takes tens of milliseconds whatever it asks for; more than this at
#: once gains little within one process and makes servers ask to slow down.
TOGETHER = 16
#: A server that is busy or away is asked again, 0.2, 0.4, 0.8 ... seconds later (with jitter).
BACKOFF: BackoffConfig = {
    "init_backoff": timedelta(milliseconds=200),
    "max_backoff": timedelta(seconds=10),
    "base": 2,
}
RETRY: RetryConfig = {"max_retries": 6, "retry_timeout": timedelta(minutes=2), "backoff": BACKOFF}


class ObjectClient:
    """Requests to one bucket. Every method raises what `lungdet.store.object_errors` says.

    Args:
        root: scheme and bucket.

    Raises:
        StoreError: obstore is not installed, or the environment describes no account or region to use.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        with _in_our_words(root):
            self._store = _open(root)

    def has(self, key: str) -> bool:
        """Whether there is an object of this name."""
        import obstore

        try:
            with _in_our_words(f"{self.root}/{key}"):
                obstore.head(self._store, key)
        except MissingFileError:
            return False
        return True

    def read(self, key: str) -> bytes:
        """The whole object."""
        import obstore

        with _in_our_words(f"{self.root}/{key}"):
            return bytes(obstore.get(self._store, key).bytes())

    def read_end(self, key: str, length: int) -> tuple[bytes, int, str]:
        """The last bytes of an object, all of a shorter one; its size, and what changes when its content does."""
        with _in_our_words(f"{self.root}/{key}"):
            answer = self._get_end(key, length)
            meta = answer.meta
            version = meta["e_tag"] or meta["last_modified"].isoformat()
            return bytes(answer.bytes()), meta["size"], version

    def _get_end(self, key: str, length: int) -> GetResult:
        import obstore
        from obstore.exceptions import NotSupportedError

        try:
            return obstore.get(self._store, key, options={"range": {"suffix": length}})
        except NotSupportedError:
            # Azure has no ranges from the end: the size is asked for first, then the end of the same content.
            meta = obstore.head(self._store, key)
            tag = meta["e_tag"]
            options: GetOptions = {"range": (max(0, meta["size"] - length), meta["size"])}
            if tag and not tag.startswith("W/"):  # a weak tag never matches
                options["if_match"] = tag
            return obstore.get(self._store, key, options=options)

    def read_ranges(self, key: str, starts: Sequence[int], lengths: Sequence[int], *, merge: int) -> list[Any]:
        """Parts of one object, fetched together; those less than `merge` bytes apart by one request.

        Returns:
            One buffer for each part.
        """
        import obstore

        with _in_our_words(f"{self.root}/{key}"):
            return list(obstore.get_ranges(self._store, key, starts=starts, lengths=lengths, coalesce=merge))

    def write(self, key: str, content: bytes | Path) -> None:
        """Put one object; large files in parts, a few at a time. It appears whole or not at all."""
        import obstore

        with _in_our_words(f"{self.root}/{key}"):
            obstore.put(self._store, key, content)

    def keys_below(self, key: str) -> Iterator[str]:
        """Names of all objects below a folder, as pages of the list arrive."""
        import obstore

        with _in_our_words(f"{self.root}/{key}"):
            for page in obstore.list(self._store, key or None, chunk_size=1000):
                yield from (meta["path"] for meta in page)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        import obstore

        with contextlib.suppress(MissingFileError), _in_our_words(f"{self.root}/{keys[0]}"):
            obstore.delete(self._store, list(keys))


@functools.lru_cache
def client(root: str) -> ObjectClient:
    """The client of this process for a bucket.

    Raises:
        StoreError: see `ObjectClient`; or this process was forked from one that had clients, whose threads did not
            come along.
    """
    if _Forked.after_use:
        raise StoreError(
            f"{root}: this process was forked from one that reads object stores, and cannot read them itself; start "
            "it by spawn or forkserver (multiprocessing_context='forkserver')"
        )
    return ObjectClient(root)


def is_in_use() -> bool:
    """Whether this process has a client; forked children of it cannot use any, so start them in another way."""
    return client.cache_info().currsize > 0


def each(function: Callable[[T], S], items: Iterable[T]) -> list[S]:
    """`[function(item) for item in items]` with `TOGETHER` requests under way; the first error is raised."""
    items = list(items)
    if len(items) < 2:
        return [function(item) for item in items]
    return list(_threads().map(function, items))


class _Forked:
    after_use = False


def _after_fork() -> None:
    # The runtime behind obstore has threads, which a fork does not copy: a request in the child would wait for ever.
    _Forked.after_use = _Forked.after_use or is_in_use()
    client.cache_clear()
    _threads.cache_clear()


os.register_at_fork(after_in_child=_after_fork)


@functools.lru_cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(TOGETHER, thread_name_prefix="lungdet-objects")


def _open(root: str) -> ObjectStore:
    try:
        from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store
    except ImportError as error:
        raise StoreError(f"{root}: object stores need obstore; type pip install 'lungdet[objects]'") from error
    scheme = root.partition(":")[0]
    # No client options, which would stand instead of those of the environment (AWS_ALLOW_HTTP, AWS_TIMEOUT, ...).
    if scheme == "s3":
        return S3Store.from_url(root, retry_config=RETRY, credential_provider=_aws_profile(os.environ))
    if scheme == "gs":
        return GCSStore.from_url(root, retry_config=RETRY)
    if scheme == "az":
        return AzureStore.from_url(root, retry_config=RETRY)
    return HTTPStore.from_url(root, retry_config=RETRY, client_options={"allow_http": scheme == "http"})


def _aws_profile(environment: os._Environ[str]) -> Any:
    """Credentials of a profile in ~/.aws, which obstore does not read and boto3 does; None to leave it to obstore.

    Raises:
        StoreError: AWS_PROFILE is set, and boto3 is not installed.
    """
    named = "AWS_PROFILE" in environment
    if "AWS_ACCESS_KEY_ID" in environment or "AWS_SKIP_SIGNATURE" in environment:
        return None
    shared = Path(environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    if not named and not shared.is_file():
        return None
    if importlib.util.find_spec("boto3") is None:
        if named:
            raise StoreError("AWS_PROFILE is set, and profiles are read by boto3; type pip install boto3")
        return None
    from obstore.auth.boto3 import Boto3CredentialProvider

    return Boto3CredentialProvider()


@contextlib.contextmanager
def _in_our_words(place: str) -> Iterator[None]:
    """Turn what obstore raises into a MissingFileError or StoreError that names the place and repeats no secret."""
    try:
        yield
    except (StoreError, GeneratorExit):
        raise
    except Exception as error:
        # `from None`: the original quotes addresses with whatever the provider put into them.
        raise explain(error, place) from None
