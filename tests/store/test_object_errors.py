"""Errors as object stores word them, without a server; with one they are those of `test_object_client`."""

from __future__ import annotations

import pytest

from lungdet.errors import MissingFileError, StoreError
from lungdet.store.object_errors import explain

S3, AZ, GS, HTTPS = "s3://bucket/scans/x", "az://box/x", "gs://bucket/x", "https://host:8443/stores/x"


def status(number: int, code: str = "") -> str:
    """What an answer of an S3 server becomes."""
    return f"Client error with status code: {number} No: <Error><Code>{code}</Code></Error>"


class NoCredentialsError(Exception):
    """As botocore names it."""


class PermissionDeniedError(Exception):
    """As obstore names it."""


@pytest.fixture(autouse=True)
def no_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT",
        "GOOGLE_BASE_URL",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("error", "place", "told"),
    [
        (PermissionDeniedError("no"), HTTPS, f"{HTTPS}: access denied (PermissionDeniedError); https:// reads public "),
        (
            FileNotFoundError("The specified bucket does not exist"),
            GS,
            "gs://bucket: there is no such bucket at Google Cloud Storage; make it, or correct the address",
        ),
        (
            ValueError(status(404, "NoSuchBucket")),
            S3,
            "s3://bucket: there is no such bucket at Amazon S3; make it, or correct the address",
        ),
        (
            NoCredentialsError("Unable to locate credentials"),
            S3,
            "s3://bucket/scans/x: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE;"
            " for a public bucket AWS_SKIP_SIGNATURE=true",
        ),
        (
            OSError("error sending request for url (http://metadata.google.internal/token)"),
            GS,
            "gs://bucket/x: no credentials found; set GOOGLE_APPLICATION_CREDENTIALS, or type gcloud auth "
            "application-default login",
        ),
        (
            ValueError("Account must be specified"),
            AZ,
            "az://box/x: no credentials found; set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or ",
        ),
        (
            ValueError("Received redirect without LOCATION, this normally indicates an incorrectly configured region"),
            S3,
            "s3://bucket: the bucket lies in another region; set AWS_REGION to its own",
        ),
        (
            PermissionDeniedError("no"),
            GS,
            "gs://bucket/x: access denied (PermissionDeniedError). Credentials come from Google's chain (",
        ),
        (
            PermissionDeniedError(status(403, "AccessDenied")),
            HTTPS,
            f"{HTTPS}: access denied (",
        ),
        (
            ValueError("builder error for url (http://host)"),
            AZ,
            "Azure Storage is no address that may be asked: without TLS it needs AZURE_ALLOW_HTTP=true",
        ),
        (
            ValueError("builder error for url (http://host)"),
            GS,
            "Google Cloud Storage is no address that may be asked: without TLS it needs https",
        ),
        (
            OSError("HTTP error, after 6 retries: operation Timed Out"),
            AZ,
            "az://box/x: Azure Storage cannot be reached after 7 attempts; check the network and the address (AZURE_",
        ),
        (
            OSError("error sending request"),
            HTTPS,
            f"{HTTPS}: https://host:8443 cannot be reached; check the network and the address",
        ),
        (
            OSError(status(429, "SlowDown") + ", after 2 retries"),
            GS,
            "gs://bucket/x: the server could not answer (429 SlowDown) after 3 attempts; try again later",
        ),
        (OSError(status(503)), S3, "s3://bucket/scans/x: the server could not answer (503); try again later"),
        (OSError(""), S3, "s3://bucket/scans/x: the request failed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_is_told(error: Exception, place: str, told: str) -> None:
    found = explain(error, place)
    assert str(found).startswith(told)
    assert isinstance(found, StoreError)


def test_a_missing_object_is_a_missing_file() -> None:
    found = explain(FileNotFoundError("Object at location x not found"), S3)
    assert isinstance(found, MissingFileError)
    assert str(found) == "s3://bucket/scans/x: no such object"


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken", "TokenRefreshRequired"])
def test_tokens_that_ended_are_denied_whatever_the_status(code: str) -> None:
    assert f"access denied (400 {code}). Credentials come from the AWS chain" in str(
        explain(ValueError(status(400, code)), S3)
    )


def test_the_server_that_was_asked_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the variables that obstore reads, as it reads them."""
    monkeypatch.setenv("AWS_ENDPOINT", "http://third")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://me:hunter2@second:9000/below?key=hunter2")
    told = str(explain(ValueError(status(404, "NoSuchBucket")), S3))
    assert "no such bucket at https://second:9000; make" in told
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://first")
    assert "no such bucket at http://first; make" in str(explain(ValueError(status(404, "NoSuchBucket")), S3))


def test_what_obstore_prints_for_its_makers_is_left_out() -> None:
    """The debug source holds the whole request, with its signature."""
    told = str(explain(OSError("odd\n\nDebug source:\nstatus code: 503 Signature=hunter2"), S3))
    assert told == "s3://bucket/scans/x: odd"
