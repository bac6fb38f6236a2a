"""A store of type ``s3``: objects in one bucket of Amazon S3, or of a server that speaks its protocol."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oslo_config import types

from ferrotype.config import extras
from ferrotype.config.options import BOOL, STORE, TEXT, Option, at_least, ignored_option
from ferrotype.config.values import Values

MIB = 1024 * 1024
#: The smallest part that S3 takes, in MiB, and the largest one.
SMALLEST_PART, LARGEST_PART = 5, 5 * 1024
#: Names of buckets that can be part of a host name; with a dot no certificate would match.
_DNS_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII)
_HOST = re.compile(r"(https?://)?([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?(/[\w./~-]*)?", re.ASCII | re.IGNORECASE)
_AMAZON = re.compile(r"s3[.-](?:dualstack\.)?(?:([a-z0-9-]+)\.)?amazonaws\.com(?:\.cn)?", re.ASCII)


@dataclass(frozen=True)
class S3Store:
    """Where the bucket is, and how objects are moved to it. Sizes are in bytes."""

    #: the URL of the server, without the bucket
    endpoint: str = ""
    bucket: str = ""
    region: str = "us-east-1"
    #: None: taken from the environment, or from the machine's or the container's role
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    #: whether the bucket is part of the host name
    virtual: bool = False
    create_bucket: bool = False
    #: objects of this size and above are uploaded in parts
    large_object_size: int = 100 * MIB
    part_size: int = 10 * MIB
    #: most parts of one upload that are sent at once
    parallel_parts: int = 10
    #: certificates of authorities, PEM; None: those of the system
    ca_file: Path | None = None
    #: have the server keep a SHA-256 digest of each object or part
    stored_checksums: bool = False

    @property
    def place(self) -> str:
        """What an operator reads about where the objects are."""
        return f"{self.endpoint}/{self.bucket}"

    @property
    def properties(self) -> Mapping[str, Any]:
        """What the operators' discovery shows (DISC-60: no secrets)."""
        return {
            "s3_store_large_object_size": self.large_object_size,
            "s3_store_large_object_chunk_size": self.part_size,
            "s3_store_thread_pools": self.parallel_parts,
        }


def _option(name: str, type_: Any, default: Any, text: str, to: str, **more: Any) -> Option:
    return Option(STORE, f"s3_store_{name}", type_, default, text, dest=f"stores.entries.options.{to}", **more)


_URL_FORMATS = ("auto", "virtual", "path")
_CHECKSUMS = types.String(choices=["when_required", "when_supported"])
_HOST_OPTION = _option("host", TEXT, None, "host of the S3 server, with scheme and port if need be; without a scheme"
                       " it is asked over http", "endpoint")  # fmt: skip
_REGION = _option("region_name", TEXT, "", "region of the bucket; empty: as the host says, else us-east-1", "region")
_ACCESS_KEY = _option("access_key", TEXT, None, "access key; unset: from the environment or the role of the machine",
                      "access_key")  # fmt: skip
_SECRET_KEY = _option("secret_key", TEXT, None, "secret key of the access key", "secret_key")
_BUCKET = _option("bucket", TEXT, None, "bucket that holds the objects, and nothing else", "bucket")
_CREATE = _option("create_bucket_on_put", BOOL, S3Store.create_bucket, "create a bucket that does not exist",
                  "create_bucket")  # fmt: skip
_URL_FORMAT = _option(
    "bucket_url_format", TEXT, "auto", "`virtual`: the bucket is part of the host name; `path`: it comes"
    " after the host; `auto`: `virtual` for Amazon's hosts, else `path`", "virtual",
)  # fmt: skip
_LARGE = _option("large_object_size", at_least(0), 100, "MiB; images of this size and above are uploaded in parts."
                 " So is every image larger than one part", "large_object_size")  # fmt: skip
_PART = _option("large_object_chunk_size", at_least(SMALLEST_PART, LARGEST_PART), 10, "MiB of a part; parts are"
                " larger where an image would have more than 10,000", "part_size")  # fmt: skip
_POOLS = _option("thread_pools", at_least(1, 100), 10, "most parts of one upload that are sent at once; fewer while"
                 " memory is scarce", "parallel_parts")  # fmt: skip
_CACERT = _option("cacert", TEXT, "", "file with certificates of authorities; empty: those of the system", "ca_file")
_INTEGRITY = _option("enable_data_integrity_protection", BOOL, False, "whether"
                     " `s3_store_request_checksum_calculation` counts", "stored_checksums")  # fmt: skip
_REQUEST_CHECKSUM = _option(
    "request_checksum_calculation", _CHECKSUMS, "when_required", "`when_supported`: the server also keeps a SHA-256"
    " digest of each object or part. A digest of the data is sent, for the server to check, in any case",
    "stored_checksums",
)  # fmt: skip
_RESPONSE_CHECKSUM = ignored_option(
    STORE, "s3_store_response_checksum_validation", _CHECKSUMS,
    "the service compares the digests of an image itself",
)  # fmt: skip
OPTIONS = (
    _HOST_OPTION, _REGION, _ACCESS_KEY, _SECRET_KEY, _BUCKET, _CREATE, _URL_FORMAT, _LARGE, _PART, _POOLS, _CACERT,
    _INTEGRITY, _REQUEST_CHECKSUM, _RESPONSE_CHECKSUM,
)  # fmt: skip


def read(values: Values, sections: Sequence[str]) -> S3Store:
    """Return the store's configuration; the first of ``sections`` that sets an option decides about it."""

    def get(option: Option) -> Any:
        return values.of_store(sections, option)[1]

    extras.require(values, sections[0], "s3")
    endpoint = _endpoint(values, sections)
    bucket = get(_BUCKET) or ""
    if not bucket:
        values.problem(sections[0], _BUCKET.name, "must be set to the bucket of the store")
    elif not re.fullmatch(r"[A-Za-z0-9._-]{3,255}", bucket):
        values.problem(sections[0], _BUCKET.name, "must be 3 to 255 letters, digits, dots, dashes and underscores")
    integrity, calculation = get(_INTEGRITY), get(_REQUEST_CHECKSUM)
    access_key, secret_key = get(_ACCESS_KEY) or None, get(_SECRET_KEY) or None
    if (access_key is None) != (secret_key is None):
        missing = _ACCESS_KEY if access_key is None else _SECRET_KEY
        values.problem(sections[0], missing.name, "must be set too, or neither key")
    return S3Store(
        endpoint=endpoint,
        bucket=bucket,
        region=get(_REGION) or _region_of(endpoint),
        access_key=access_key,
        secret_key=secret_key,
        virtual=_virtual(values, sections, endpoint, bucket),
        create_bucket=get(_CREATE),
        large_object_size=get(_LARGE) * MIB,
        part_size=get(_PART) * MIB,
        parallel_parts=get(_POOLS),
        ca_file=_ca_file(values, *values.of_store(sections, _CACERT)),
        stored_checksums=calculation == "when_supported" and integrity,
    )


def _endpoint(values: Values, sections: Sequence[str]) -> str:
    section, host = values.of_store(sections, _HOST_OPTION)
    if not host:
        values.problem(section, _HOST_OPTION.name, "must be set to the host of the S3 server, as in s3.amazonaws.com")
        return ""
    host = host.strip().rstrip("/")
    if not _HOST.fullmatch(host):
        # It may hold credentials, so the value is not shown.
        text = "must be a host, as in s3.example.org or https://s3.example.org:8080, without user information"
        values.problem(section, _HOST_OPTION.name, text, show=False)
        return ""
    return host if host.lower().startswith(("http://", "https://")) else f"http://{host}"


def _region_of(endpoint: str) -> str:
    """Return the region that one of Amazon's host names has."""
    amazon = _AMAZON.fullmatch(endpoint.partition("://")[2].partition(":")[0].lower())
    return (amazon and amazon[1]) or "us-east-1"


def _virtual(values: Values, sections: Sequence[str], endpoint: str, bucket: str) -> bool:
    section, form = values.of_store(sections, _URL_FORMAT)
    if form not in _URL_FORMATS:
        values.problem(section, _URL_FORMAT.name, f"must be one of {', '.join(_URL_FORMATS)}")
    fits = _DNS_NAME.fullmatch(bucket) is not None
    if form == "virtual" and bucket and not fits:
        text = f"needs a bucket whose name can be part of a host name; {bucket} cannot"
        values.problem(section, _URL_FORMAT.name, text, show=False)
    if form == "auto":
        return fits and _AMAZON.fullmatch(endpoint.partition("://")[2].lower()) is not None
    return bool(form == "virtual")


def _ca_file(values: Values, section: str, name: str) -> Path | None:
    if not name:
        return None
    path = Path(name)
    try:
        if b"-----BEGIN CERTIFICATE-----" in path.read_bytes():
            return path.absolute()
        reason = "holds no certificate"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    values.problem(section, _CACERT.name, f"names a file that {reason}; name a file of PEM certificates")
    return None
