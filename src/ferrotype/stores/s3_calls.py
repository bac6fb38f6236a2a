"""Calls of S3 that obstore lacks, by boto3 in threads: buckets, listing and aborting uploads, and parts that grow."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from ferrotype.config.s3_store import S3Store
from ferrotype.model.errors import StoreDenied, StoreUnavailable
from ferrotype.offload import ThreadPools
from ferrotype.stores.object_errors import connection, from_answer

if TYPE_CHECKING:  # Declared in the library's stub files only.
    from obstore.store import S3Credential

# At the level debug they log signed headers, and access keys with them.
for _name in ("boto3", "botocore", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)

#: Threads of one store for these calls. Parts of uploads of unknown size have others, as many as may be sent at once.
THREADS = 8
#: Seconds to connect, seconds without progress, and attempts: of most calls, and of those that send a part.
CONNECT_TIMEOUT, READ_TIMEOUT, ATTEMPTS, PART_ATTEMPTS = 5, 20, 4, 7
#: How long obstore uses credentials before it asks again. boto3 renews them 15 minutes before they expire.
CREDENTIALS_VALID = timedelta(minutes=5)


class Unfinished(NamedTuple):
    """An upload in parts that was neither completed nor aborted."""

    key: str
    id: str


class S3Calls:
    """boto3's client of one bucket, made when it is first needed: finding credentials may ask other servers."""

    def __init__(self, options: S3Store, pools: ThreadPools):
        self._options = options
        self._threads = pools.new_pool(THREADS, "s3")
        self._part_threads = pools.new_pool(options.parallel_parts, "s3-parts")
        self._session = boto3.session.Session(
            aws_access_key_id=options.access_key,
            aws_secret_access_key=options.secret_key,
            region_name=options.region,
        )
        self._lock = threading.Lock()
        self._made: dict[int, Any] = {}

    def _client(self, attempts: int = ATTEMPTS) -> Any:
        with self._lock:
            if attempts not in self._made:
                self._made[attempts] = self._session.client(
                    "s3",
                    endpoint_url=self._options.endpoint,
                    verify=str(self._options.ca_file) if self._options.ca_file else None,
                    config=Config(
                        s3={
                            "addressing_style": "virtual" if self._options.virtual else "path",
                            "payload_signing_enabled": True,
                        },
                        connect_timeout=CONNECT_TIMEOUT,
                        read_timeout=READ_TIMEOUT,
                        retries={"mode": "standard", "total_max_attempts": attempts},
                        max_pool_connections=THREADS + self._options.parallel_parts,
                        request_checksum_calculation="when_required",
                        response_checksum_validation="when_required",
                    ),
                )
            return self._made[attempts]

    def _call(self, action: str, method: str, parameters: Mapping[str, Any], attempts: int = ATTEMPTS) -> Any:
        with translated(action):
            return getattr(self._client(attempts), method)(Bucket=self._options.bucket, **parameters)

    async def call(self, action: str, method: str, **parameters: Any) -> Any:
        """Return the answer to one call about the bucket. ``action`` continues "cannot" in the text of an error."""
        return await self._threads.offload(self._call, action, method, parameters)

    async def send_part(self, key: str, upload: str, number: int, data: bytearray) -> Mapping[str, Any]:
        """Send one part of an upload and return what completes it."""
        parameters = {"Key": key, "UploadId": upload, "PartNumber": number, "Body": data, **self.checksum}
        answer = await self._part_threads.offload(
            self._call, f"write {key}", "upload_part", parameters, PART_ATTEMPTS
        )
        sums = {"ChecksumSHA256": answer["ChecksumSHA256"]} if self.checksum else {}
        return {"PartNumber": number, "ETag": answer["ETag"], **sums}

    @property
    def checksum(self) -> Mapping[str, str]:
        """The parameter that makes the server keep digests, where it should."""
        return {"ChecksumAlgorithm": "SHA256"} if self._options.stored_checksums else {}

    async def unfinished(self, prefix: str) -> list[Unfinished]:
        """Return the unfinished uploads of keys that begin with ``prefix``."""

        def find() -> list[Unfinished]:
            with translated("list unfinished uploads"):
                pages = self._client().get_paginator("list_multipart_uploads")
                return [
                    Unfinished(each["Key"], each["UploadId"])
                    for page in pages.paginate(Bucket=self._options.bucket, Prefix=prefix)
                    for each in page.get("Uploads", [])
                ]

        return await self._threads.offload(find)

    async def size_of(self, upload: Unfinished) -> int:
        """Return the bytes that an unfinished upload has so far."""

        def add() -> int:
            with translated(f"list the parts of {upload.key}"):
                pages = self._client().get_paginator("list_parts")
                found = pages.paginate(Bucket=self._options.bucket, Key=upload.key, UploadId=upload.id)
                return sum(part["Size"] for page in found for part in page.get("Parts", []))

        return await self._threads.offload(add)

    async def bucket_exists(self) -> bool:
        """Return whether the bucket exists; the answer to HEAD is 404 without a code."""

        def look() -> bool:
            with translated(f"look at the bucket {self._options.bucket}"):
                try:
                    self._client().head_bucket(Bucket=self._options.bucket)
                except ClientError as error:
                    if error.response["Error"].get("Code") in ("404", "NoSuchBucket"):
                        return False
                    raise
            return True

        return await self._threads.offload(look)

    async def create_bucket(self) -> None:
        """Create the bucket; it is no error when it exists already and is ours."""
        region = self._options.region
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}

        def create() -> None:
            with translated(f"create the bucket {self._options.bucket}"):
                try:
                    self._client().create_bucket(Bucket=self._options.bucket, **where)
                except ClientError as error:
                    if error.response["Error"].get("Code") != "BucketAlreadyOwnedByYou":
                        raise

        await self._threads.offload(create)

    async def credentials(self) -> "S3Credential":
        """Return the configured keys, else those of the environment, the shared files, or the machine's role."""
        options = self._options
        if options.access_key and options.secret_key:
            return {
                "access_key_id": options.access_key,
                "secret_access_key": options.secret_key,
                "token": None,
                "expires_at": None,
            }

        def get() -> "S3Credential":
            with translated("find credentials"):
                found = self._session.get_credentials()
                if found is None:
                    raise NoCredentialsError
                frozen = found.get_frozen_credentials()
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                "expires_at": datetime.now(UTC) + CREDENTIALS_VALID,
            }

        return await self._threads.offload(get)


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn the errors of boto3 into StoreErrors; ``action`` continues "cannot"."""
    try:
        yield
    except ClientError as error:
        answer = error.response
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        details = answer.get("Error", {})
        region = details.get("Region") or details.get("Endpoint") or ""
        code = details.get("Code", "")
        # HEAD has no body: boto3 gives the status as the code.
        raise from_answer(action, status, "" if code.isdigit() else code, region) from None
    except (NoCredentialsError, PartialCredentialsError):
        text = (
            "no credentials were found. Set s3_store_access_key and s3_store_secret_key, or give the machine a role"
        )
        raise StoreDenied(f"cannot {action}: {text}") from None
    except BotoCoreError as error:
        raise StoreUnavailable(f"cannot {action}: {connection(str(error))}") from None
