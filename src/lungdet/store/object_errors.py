"""What went wrong with an object store, in one message that says what to type and repeats no credentials."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from lungdet.errors import LungdetError, MissingFileError, StoreError
from lungdet.store.location import CREDENTIALS

_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_ENDPOINT_HINTS = {
    "s3": "AWS_ENDPOINT_URL",
    "gs": "GOOGLE_BASE_URL",
    "az": "AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT",
}
_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
_NO_BUCKET = (
    "NoSuchBucket",
    "InvalidBucketName",
    "ContainerNotFound",
    "InvalidResourceName",
    "The specified bucket does not exist",
)
_OTHER_REGION = ("AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException")
_DENIED = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")
_DENYING_ERRORS = ("PermissionDeniedError", "UnauthenticatedError")
# Credentials that cannot even be sent: a file that is missing or no key, a key that is no base64, no az.
_UNUSABLE = ("service account", "credential error", "reading pem", "Invalid Access Key", "az account get-access-token")
# What obstore tells in its "debug source" alone: why a server cannot be reached.
_CAUSES = (r'message: "([^"]+)"', r'error: "(failed to lookup[^"]+)"')
_PUBLIC = ("https", "http")
_CERTIFICATES = {
    "UnknownIssuer": "set SSL_CERT_FILE to a file with the certificate of the authority that signed it",
    "CaUsedAsEndEntity": "it is that of an authority itself; have one made that is none (basicConstraints=CA:FALSE)",
}
# Where programs ask when the environment names no credentials: the address of the machine's own identity.
_IDENTITY_SERVICES = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "fd00:ec2")
_WITHOUT = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; for a public bucket AWS_SKIP_SIGNATURE=true",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or type gcloud auth application-default login",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_USE_AZURE_CLI=true after az login",
}


def explain(error: Exception, place: str) -> LungdetError:
    """The error to raise instead.

    Args:
        error: of obstore, or of what provides its credentials.
        place: bare address of the object or folder.
    """
    text, _, debug = str(error).partition("\n\nDebug source")
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
    if not status and any(word in text for word in _UNUSABLE):
        reason = re.sub(r'"[^"]*"', "...", _without_secrets(text).rpartition("error: ")[2]).rstrip(".")
        return StoreError(f"{bucket}: the credentials cannot be used ({reason}); {_WITHOUT.get(scheme, '')}")
    if scheme == "s3" and (code in _OTHER_REGION or status == "301" or "without LOCATION" in text):
        return StoreError(f"{bucket}: the bucket lies in another region; set AWS_REGION to its own")
    if status in ("401", "403") or code in _DENIED or type(error).__name__ in _DENYING_ERRORS:
        if scheme in _PUBLIC:
            return StoreError(
                f"{place}: access denied ({answer or type(error).__name__}); {scheme}:// reads public files only, for "
                "others type s3://, gs:// or az:// and the bucket"
            )
        return StoreError(
            f"{place}: access denied ({answer or type(error).__name__}). Credentials come from {CREDENTIALS[scheme]}; "
            "check that they are valid and may do this with the bucket"
        )
    server = _endpoint(scheme, bucket)
    if "builder error" in text:
        return StoreError(
            f"{server} is no address that may be asked: without TLS it needs "
            f"{_ALLOW_HTTP.get(scheme, 'https')}{'=true' if scheme in _ALLOW_HTTP else ''}"
        )
    if status:
        return StoreError(f"{place}: {_about_answer(text, status, answer)}")
    if any(words in text.lower() for words in ("error sending request", "http error", "timed out")):
        return StoreError(f"{place}: {_about_connection(text, debug, server, scheme)}")
    kind = type(error).__name__
    if kind == "NotSupportedError" and "ange request" in text:
        return StoreError(
            f"{place}: {server} does not send parts of files (HTTP ranges); serve the store by a server that does, "
            "such as nginx, or copy it to a folder"
        )
    return StoreError(f"{place}: {_without_secrets(text)}")


def _about_answer(text: str, status: str, answer: str) -> str:
    """The server answered, and nothing that is known better."""
    if status == "412":
        return "it was replaced just now; type the command again"
    if status.startswith("5") or status == "429":
        return f"the server could not answer ({answer}){_tries(text)}; try again later"
    message = re.search(r"<Message>([^<\n]+)", text)
    return f"the server refused it ({answer}): {_without_secrets(message[1])}" if message else _without_secrets(text)


def _about_connection(text: str, debug: str, server: str, scheme: str) -> str:
    """No server answered."""
    certificate = re.search(r"InvalidCertificate\(\W*(\w+)\W+(?:OtherError\W+(\w+))?", debug)
    if certificate:
        why = (certificate[2] or certificate[1]).removesuffix("Context")
        remedy = _CERTIFICATES.get(why, "check the address and the clock, or have the certificate renewed")
        return f"the certificate of {server} is not trusted ({why}); {remedy}"
    causes = [f" ({cause})" for pattern in _CAUSES for cause in re.findall(pattern, debug)]
    if "InvalidContentType" in debug:
        causes = [" (it answers without TLS)"]
    return (
        f"{server} cannot be reached{_tries(text)}{''.join(causes[:1])}; check the network and the "
        f"address{_endpoint_hint(scheme)}"
    )


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
    return f" ({_ENDPOINT_HINTS[scheme]})" if scheme in _ENDPOINT_HINTS else ""


def _tries(text: str) -> str:
    retries = re.findall(r"after (\d+) retries", text)
    return f" after {int(retries[0]) + 1} attempts" if retries else ""


def _without_secrets(text: str) -> str:
    """The first line, its addresses without user, password and query."""
    line = text.splitlines()[0] if text else "the request failed"
    line = re.sub(r": <[^>]*>\s*$", "", line)  # where a page in HTML begins
    line = re.sub(r"(\w+://)[^/\s@]*@", r"\1", line)
    return re.sub(r"(\w+://[^\s?]*)\?\S*", r"\1", line)
