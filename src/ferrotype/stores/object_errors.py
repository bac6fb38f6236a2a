"""What the errors of object stores mean: by HTTP status, and by the code in the body of an S3 answer.

The texts name the problem and the remedy. Bodies and URLs of answers are left out: some servers repeat access keys
and strings to be signed in them.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from obstore import exceptions

from ferrotype.model.errors import BlobNotFound, StoreDenied, StoreError, StoreFull, StoreUnavailable


class BucketMissing(StoreUnavailable):
    """The bucket or container does not exist."""


class ObjectExists(StoreDenied):
    """The name is taken. The object is left as it is."""


class UploadMissing(StoreUnavailable):
    """The upload was completed or aborted."""


_NO_BUCKET = (BucketMissing, "the bucket or container does not exist. Create it, or correct its name")
#: Codes of S3 that need another text or class than their status has.
_CODES: Mapping[str, tuple[type[StoreError], str]] = MappingProxyType(
    {
        "NoSuchBucket": _NO_BUCKET,
        "ContainerNotFound": _NO_BUCKET,
        "QuotaExceeded": (StoreFull, "the quota of the bucket or its owner is used up"),
        "ServiceQuotaExceeded": (StoreFull, "the quota of the bucket or its owner is used up"),
        "XMinioStorageFull": (StoreFull, "the server has no space"),
        "InsufficientCapacity": (StoreFull, "the server has no space"),
        "EntityTooLarge": (StoreFull, "the object is larger than the server allows"),
        "InvalidAccessKeyId": (StoreDenied, "the server does not know the access key. Correct the credentials"),
        "SignatureDoesNotMatch": (StoreDenied, "the secret key does not belong to the access key. Correct it"),
        "AuthenticationFailed": (StoreDenied, "the key of the account is wrong. Correct it"),
        "ExpiredToken": (StoreDenied, "the temporary credentials have expired"),
        "RequestTimeTooSkewed": (
            StoreDenied,
            "the clocks of this machine and of the server differ too much. Synchronise them",
        ),
        "PermanentRedirect": (StoreDenied, "the bucket is in another region. Set s3_store_region_name to it"),
        "AuthorizationHeaderMalformed": (
            StoreDenied,
            "the bucket is in another region. Set s3_store_region_name to it",
        ),
        "IllegalLocationConstraintException": (
            StoreDenied,
            "the bucket is in another region. Set s3_store_region_name to it",
        ),
        "NoSuchUpload": (UploadMissing, "the upload was aborted meanwhile"),
        "BadDigest": (StoreUnavailable, "the data was changed on its way to the server"),
        "XAmzContentSHA256Mismatch": (StoreUnavailable, "the data was changed on its way to the server"),
        "SlowDown": (StoreUnavailable, "the server asks for fewer requests"),
    }
)
_STATUSES: Mapping[int, tuple[type[StoreError], str]] = MappingProxyType(
    {
        301: _CODES["PermanentRedirect"],
        401: (StoreDenied, "the server refuses the credentials. Correct them, and compare the clocks"),
        403: (StoreDenied, "the server refuses access. Check the credentials, their permissions, and the clocks"),
        413: _CODES["EntityTooLarge"],
        429: _CODES["SlowDown"],
        507: (StoreFull, "the server has no space"),
    }
)

NO_CREDENTIALS = "no credentials were found. Set the keys of the store, or give the machine a role"


def from_answer(action: str, status: int, code: str, region: str = "") -> StoreError:
    """Return the error that an answer means. ``action`` says what was tried; ``code`` is empty if there is none."""
    kind, text = _CODES.get(code) or _STATUSES.get(status) or (StoreUnavailable, "the server failed")
    answer = " ".join(part for part in (str(status or ""), code) if part)
    where = f" (it is in {region})" if region and "another region" in text else ""
    return kind(f"cannot {action}: {text}{where}" + (f"; it answered {answer}" if answer else ""))


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn the errors of obstore into StoreErrors; ``action`` continues "cannot"."""
    try:
        yield
    except (exceptions.BaseError, OSError, ValueError) as error:
        # Without its cause, which may hold what the server repeated of the credentials.
        raise _meaning(action, error) from None


def _meaning(action: str, error: Exception) -> StoreError:
    text = str(error)
    found = re.search(r"status code: (\d{3})", text)
    status = int(found[1]) if found else 0
    code = re.search(r"<Code>\s*(\w{1,80})\s*</Code>", text)
    region = re.search(r"<(?:Region|Endpoint)>\s*([\w.-]{1,80})\s*</", text)
    if code and code[1] in _CODES:
        return from_answer(action, status, code[1], region[1] if region else "")
    if isinstance(error, FileNotFoundError):
        return BlobNotFound(f"cannot {action}: the object does not exist")
    if isinstance(error, exceptions.AlreadyExistsError | exceptions.PreconditionError):
        return ObjectExists(f"cannot {action}: an object of this name exists already")
    if isinstance(error, exceptions.UnauthenticatedError) and not status:
        return StoreDenied(f"cannot {action}: {NO_CREDENTIALS}")
    if isinstance(error, exceptions.PermissionDeniedError):
        status = status or 403
    if "redirect without LOCATION" in text:
        status = 301
    if status:
        return from_answer(action, status, code[1] if code else "")
    return StoreUnavailable(f"cannot {action}: {connection(text)}")


#: What went wrong with a connection, by a word of the client library's error.
_CONNECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "certificate": "its certificate is not trusted. Name the file of its authority",
        "dns error": "the host name cannot be resolved",
        "refused": "the connection is refused. Is the server running?",
        "timed": "the server does not answer in time",
        "Connect": "the server cannot be reached",
        "credential": NO_CREDENTIALS,
        "IMDS": NO_CREDENTIALS,
    }
)


def connection(text: str) -> str:
    """Return what is wrong with a connection, from the text of a client library's error."""
    known = (meaning for word, meaning in _CONNECTIONS.items() if word.lower() in text.lower())
    return next(known, "the connection failed, or the answer is not that of an object store")
