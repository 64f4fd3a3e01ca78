"""What went wrong with an object store, in one message that says what to type and repeats no credentials."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from lungdet.errors import LungdetError, MissingFileError, StoreError
from lungdet.store.location import CREDENTIALS

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
_NO_BUCKET = ("NoSuchBucket", "InvalidBucketName", "ContainerNotFound", "The specified bucket does not exist")
_OTHER_REGION = ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException")
_DENIED = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_DENYING_ERRORS = ("PermissionDeniedError", "UnauthenticatedError")
# Where programs ask when the environment names no credentials: the address of the machine's own identity.
_IDENTITY_SERVICES = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "fd00:ec2")
_WITHOUT = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; for a public bucket AWS_SKIP_SIGNATURE=true",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or type gcloud auth application-default login",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or type az login",
}


def explain(error: Exception, place: str) -> LungdetError:
    """The error to raise instead.

    Args:
        error: of obstore, or of what provides its credentials.
        place: bare address of the object or folder.
    """
    text = str(error).split("\n\nDebug source")[0]
    scheme, bucket = place.partition(":")[0], "/".join(place.split("/")[:3])
    status = next(iter(re.findall(r"status code: (\d{3})", text)), "")
    code = next(iter(re.findall(r"<Code>(\w+)</Code>", text)), "")
    answer = " ".join(word for word in (status, code) if word)
    if any(word in text for word in _NO_BUCKET):
        return StoreError(
            f"{bucket}: there is no such bucket at {_endpoint(scheme, bucket)}; make it, or correct the address"
        )
    if isinstance(error, FileNotFoundError):
        return MissingFileError(f"{place}: no such object")
    if any(service in text for service in _IDENTITY_SERVICES) or _is_about_credentials(error, text):
        return StoreError(f"{place}: no credentials found; {_WITHOUT.get(scheme, 'none are needed')}")
    if code in _OTHER_REGION or status == "301" or "without LOCATION" in text:
        return StoreError(f"{bucket}: the bucket lies in another region; set AWS_REGION to its own")
    if (
        status in ("401", "403")
        or code in _DENIED
        or type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError")
    ):
        return StoreError(
            f"{place}: access denied ({answer or type(error).__name__}). Credentials come from {CREDENTIALS[scheme]}; "
            "check that they are valid and may do this with the bucket"
        )
    if "builder error" in text:
        return StoreError(
            f"{_endpoint(scheme, bucket)} is no address that may be asked: without TLS it needs "
            f"{_ALLOW_HTTP.get(scheme, 'https')}{'=true' if scheme in _ALLOW_HTTP else ''}"
        )
    if "error sending request" in text or "HTTP error" in text or "timed out" in text.lower():
        return StoreError(
            f"{place}: {_endpoint(scheme, bucket)} cannot be reached{_tries(text)}; check the network and the "
            f"address{_endpoint_hint(scheme)}"
        )
    if status.startswith("5") or status == "429":
        return StoreError(f"{place}: the server could not answer ({answer}){_tries(text)}; try again later")
    return StoreError(f"{place}: {_without_secrets(text)}")


def _is_about_credentials(error: Exception, text: str) -> bool:
    names = ("NoCredentialsError", "ProfileNotFound", "CredentialRetrievalError", "PartialCredentialsError")
    return type(error).__name__ in names or "Account must be specified" in text or "credentials found" in text


def _endpoint(scheme: str, bucket: str) -> str:
    """Host of the server that was asked, as far as the environment tells."""
    if scheme in ("http", "https"):
        return bucket
    for name in _ENDPOINTS.get(scheme, ()):
        given = os.environ.get(name)
        if given:
            parts = urlsplit(given)
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return {"s3": "Amazon S3", "gs": "Google Cloud Storage", "az": "Azure Storage"}[scheme]


def _endpoint_hint(scheme: str) -> str:
    return f" ({_ENDPOINTS[scheme][-2]})" if scheme in _ENDPOINTS else ""


def _tries(text: str) -> str:
    retries = re.findall(r"after (\d+) retries", text)
    return f" after {int(retries[0]) + 1} attempts" if retries else ""


def _without_secrets(text: str) -> str:
    """The first line, its addresses without user, password and query."""
    line = text.splitlines()[0] if text else "the request failed"
    line = re.sub(r"(\w+://)[^/\s@]*@", r"\1", line)
    return re.sub(r"(\w+://[^\s?]*)\?\S*", r"\1", line)
